"""Every error a user can meet: a sentence for the user and the exit status it leads to.

MadrunError          125  madrun itself failed
  InputError           2  bad option, hostfile, filter or file; nothing was contacted
  WireError          125  a message that no madrun of this version sends
  ClusterError       125  a host could not be reached, an agent is missing or lost
  ProgramError             the user's program cannot be started
    ProgramNotExecutable 126  it is there
    ProgramNotFound    127
"""

from __future__ import annotations

from typing import ClassVar

from madrun.system.exits import FAILED


class MadrunError(Exception):
    """The root: ``str(error)`` is the sentence the user reads."""

    exit_status: ClassVar[int] = FAILED


class InputError(MadrunError, ValueError):
    """What the user gave is wrong: says what was read, where, and what is allowed, in one line.

    >>> str(InputError("hostfile a\\nb: No such file"))
    'hostfile a\\\\nb: No such file'
    """

    exit_status = 2

    def __str__(self) -> str:
        # A line end in what was read is shown as one, and does not make two lines of the message.
        return super().__str__().replace("\n", "\\n").replace("\r", "\\r")


class WireError(MadrunError, ValueError):
    """A frame or message that is damaged, unknown, too large, or of another version."""


class ClusterError(MadrunError):
    """A host, its agent, or the way to it failed."""


class ProgramError(MadrunError):
    """The user's program cannot be started."""


class ProgramNotExecutable(ProgramError):
    """The program is there but cannot be executed."""

    exit_status = 126


class ProgramNotFound(ProgramError):
    """The program is not there."""

    exit_status = 127
