"""A ``ProxyCommand``: the user's own command that carries a connection."""

from __future__ import annotations

import os
import socket
import subprocess
import tempfile
from typing import IO

from madrun.system.errors import ClusterError
from madrun.system.exits import exit_words

_END_LIMIT = 1.0  # seconds for the command to end by itself
_SHOWN = 500  # bytes of what it said last


class ProxyCommand:
    """A command that runs; what it says on stderr is kept for the reason of a failure."""

    def __init__(self, command: str, process: subprocess.Popen[bytes], said: IO[bytes]) -> None:
        self._command, self._process, self._said = command, process, said

    def failure(self) -> ClusterError:
        """Why it carries nothing; it is ended."""
        try:
            words = exit_words(self._process.wait(_END_LIMIT))
        except subprocess.TimeoutExpired:
            words = "closed the connection"
        self._said.seek(max(0, self._said.seek(0, os.SEEK_END) - _SHOWN))
        lines = self._said.read().decode(errors="replace").strip().splitlines()
        self.end()
        return ClusterError(f"ProxyCommand {self._command!r} {': '.join([words, *lines[-1:]])}")

    def end(self) -> None:
        """End it; its connection has been closed, which ends most by themselves."""
        if self._process.poll() is None:
            self._process.terminate()
        try:
            self._process.wait(_END_LIMIT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._said.close()


def start_proxy(command: str) -> tuple[socket.socket, ProxyCommand]:
    """Run a command by the user's shell, as ssh does; returns our end of its connection.

    The line is the user's own, from ssh_config; the names that were filled in have been checked.
    Raises ClusterError.
    """
    ours, theirs = socket.socketpair()
    argv = [os.environ.get("SHELL") or "/bin/sh", "-c", f"exec {command}"]
    said = tempfile.TemporaryFile()  # noqa: SIM115  # closed with the command
    with theirs:
        end = theirs.fileno()
        try:
            process = subprocess.Popen(argv, stdin=end, stdout=end, stderr=said)
        except OSError as error:
            ours.close()
            said.close()
            raise ClusterError(f"ProxyCommand {command!r}: {argv[0]}: {error.strerror}") from None
    return ours, ProxyCommand(command, process, said)
