"""Each reason for a failed login stands in the table of docs/ssh.md."""

from __future__ import annotations

import re
import socket

import paramiko
import pytest

from madrun.backends.ssh import reasons
from madrun.backends.ssh.settings import Target
from support.cluster import REPOSITORY

TARGET = Target("node01", 22, "al")


class Ended(paramiko.Transport):
    """A connection that has come this far, and no further."""

    def __init__(self, version: str, error: Exception | None) -> None:
        ours, theirs = socket.socketpair()
        super().__init__(ours)
        theirs.close()
        ours.close()
        self.remote_version, self._error = version, error

    def get_exception(self) -> Exception | None:
        return self._error


def reason_of(version: str, error: Exception | None, late: bool) -> str:
    return str(reasons.no_handshake(Ended(version, error), TARGET, 10.0, late))


def listed() -> list[re.Pattern[str]]:
    text = (REPOSITORY / "docs" / "ssh.md").read_text()
    cells = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    quoted = [cell for row in cells for cell in re.findall(r"`([^`]+)`", row)]
    return [re.compile(re.escape(text).replace(r"\.\.\.", ".+") + ".*") for text in quoted]


@pytest.mark.parametrize(
    "reason",
    [
        reason_of("", None, True),
        reason_of("", EOFError(), False),
        reason_of("SSH-2.0-x", None, True),
        reason_of("SSH-2.0-x", None, False),
        reason_of("SSH-2.0-x", paramiko.SSHException("no acceptable kex algorithm"), False),
        reasons.refused("al", 0, ""),
        reasons.refused("al", 1, ""),
        reasons.refused("al", 3, ""),
        reasons.refused("al", 0, "Private key file is encrypted: /k (ssh-add it)"),
        reasons.refused("al", 0, "/k is no key that can be used: why"),
        reasons.other_ways("al", ["password", "hostbased"]),
        reasons.hung_up_on_keys("al", 6, 10.0),
        reasons.jump("gate", Exception("unreachable")),
        reasons.unreachable_through("gate", "Connection refused"),
        reasons.unreachable(socket.gaierror(), TARGET, 10.0),
        reasons.unreachable(TimeoutError(), TARGET, 10.0),
        reasons.unreachable(ConnectionRefusedError(111, "Connection refused"), TARGET, 10.0),
        reasons.unreachable(OSError(113, "No route to host"), TARGET, 10.0),
    ],
)
def test_a_reason_is_explained_in_the_documentation(reason: str) -> None:
    assert any(pattern.fullmatch(reason) for pattern in listed()), reason
