"""``madagent`` and ``python -m madrun.agent``: an agent under its guard."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING

from madrun.system.signals import hold_signals

if TYPE_CHECKING:
    from madrun.record.guard_handover import GuardHandover


def main() -> None:
    """The command; does not return."""
    hold_signals()  # the first thing: none may end us by halves, or with a traceback
    from madrun.record.guard_handover import GuardHandover
    from madrun.system.guard import run_guarded

    handover = GuardHandover()

    def at_end(notes: list[tuple[str, str]], core_status: int, status: int) -> None:
        handover.execute(notes, core_status, status)
        _tell_end(core_status)

    # A runner's agent belongs to no terminal, wherever it was started from.
    stops = sys.argv[1:2] != ["--runner"]
    run_guarded(lambda guard_fd: _core(handover, guard_fd), "madagent", at_end, stops=stops)


def _core(handover: GuardHandover, guard_fd: int) -> int:
    # A runner's command line is read without click: 30 ms on each start of each node.
    if sys.argv[1:2] == ["--runner"]:
        from madrun.agent.join import run_joined
        from madrun.system.errors import MadrunError

        try:
            return run_joined(sys.argv[1:], guard_fd)
        except MadrunError as error:
            sys.stderr.write(f"madagent: {error}\n")
            return error.exit_status
    if sys.argv[1:2] == ["--pod"]:
        from madrun.agent.standalone.pod import run_pod

        return run_pod(sys.argv[2], guard_fd, handover)
    from madrun.agent.cli import run_command

    return run_command(sys.argv[1:], guard_fd, handover)


def _tell_end(core_status: int) -> None:
    """In the guard: say that this agent has ended, where its process's end is not seen alone."""
    if sys.argv[1:2] != ["--runner"]:
        return
    from madrun.agent.place import place_under_tool
    from madrun.wire.key_line import GoneLine

    place = place_under_tool(sys.argv[1:], os.environ)
    if place is not None:
        with contextlib.suppress(OSError):  # nobody is left to read it
            os.write(1, GoneLine(*place, core_status).encode())


if __name__ == "__main__":
    main()
