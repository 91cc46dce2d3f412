"""madrun under a shell with job control, on a real terminal."""

from __future__ import annotations

import os
import pty
import select
import time
from collections.abc import Iterator
from contextlib import contextmanager
from subprocess import Popen

import pytest

from support.cluster import BIN, Cluster
from support.programs import PATIENCE

pytestmark = pytest.mark.hosts

TICKS = "trap 'echo cleaned up; exit 1' INT; while :; do echo tick; sleep 0.1; done"


class Terminal:
    """A terminal, and the interactive shell in a host that reads it."""

    def __init__(self, fd: int, shell: Popen[str]) -> None:
        self._fd, self.shell = fd, shell
        self.seen = ""
        self._group = 0  # the shell's

    def type(self, text: str) -> None:
        """Type this; what was shown before is forgotten."""
        self.seen = ""
        os.write(self._fd, text.encode())

    def until(self, text: str) -> None:
        """Read until this was shown since the last typing."""
        deadline = time.monotonic() + PATIENCE
        while text not in self.seen:
            assert self._read(deadline - time.monotonic()), f"no {text!r} in {self.seen!r}"

    def at_prompt(self) -> None:
        """The shell reads what is typed: its process group is in the foreground."""
        self.until("\nready> ")
        self._group = os.tcgetpgrp(self._fd)

    def until_in_front(self, text: str) -> None:
        """Until a job of the shell has the terminal, and then until this was shown.

        What a job shows in the background proves nothing: keys typed then are the shell's.
        """
        deadline = time.monotonic() + PATIENCE
        while os.tcgetpgrp(self._fd) == self._group:
            assert self._read(deadline - time.monotonic()), self.seen
        self.seen = ""
        self.until(text)

    def until_silent(self, seconds: float) -> None:
        """Until nothing was shown for so long: what was under way may still come."""
        deadline = time.monotonic() + PATIENCE
        while self.shown_within(seconds):
            assert time.monotonic() < deadline, self.seen

    def shown_within(self, seconds: float) -> str:
        """What is shown in the next seconds."""
        self.seen, deadline = "", time.monotonic() + seconds
        while self._read(deadline - time.monotonic()):
            pass
        return self.seen

    def _read(self, limit: float) -> bool:
        if limit <= 0 or not select.select([self._fd], [], [], limit)[0]:
            return False
        self.seen += os.read(self._fd, 65536).decode(errors="replace")
        return True


@contextmanager
def shell_on(cluster: Cluster) -> Iterator[Terminal]:
    """An interactive bash on the head, as a login there would have it."""
    ours, theirs = pty.openpty()
    words = ["setsid", "-c", "bash", "--norc", "--noprofile", "-i"]
    shell = cluster.popen("head", words, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    terminal = Terminal(ours, shell)
    try:
        terminal.until("#")
        terminal.type("PS1='ready> '\n")
        terminal.at_prompt()
        yield terminal
    finally:
        os.close(ours)  # a hang-up
        shell.wait(PATIENCE)


def test_ctrl_z_stops_what_the_shell_sees_and_no_lease(cluster: Cluster) -> None:
    timeout = 1.0
    hostfile = cluster.hostfile(slots=1)
    words = f"--color never --hostfile {hostfile} --heartbeat-timeout {timeout:g} --no-python sh -c"
    with shell_on(cluster) as terminal:
        terminal.type(f'{BIN}/madrun {words} "{TICKS}"\n')
        terminal.until(":3] tick")
        for resume in ("fg", "bg"):
            terminal.type("\x1a")
            terminal.until("Stopped")
            terminal.until("ready> ")
            # Longer than any lease; the shell is nobody else's meanwhile.
            terminal.until_silent(3 * timeout)
            terminal.type(f"{resume}\n")
            terminal.until(":3] tick")
        terminal.type("fg\n")
        terminal.until_in_front(":3] tick")
        terminal.type("\x03")
        terminal.until("stopped by SIGINT")
        assert "cleaned up" in terminal.seen
        assert "lost" not in terminal.seen
        terminal.type("echo status $?\n")
        terminal.until("status 130")


def test_a_job_that_ends_while_it_is_stopped_says_so_in_the_foreground(cluster: Cluster) -> None:
    go = cluster.share / "go"
    go.unlink(missing_ok=True)
    words = f"--color never --hostfile {cluster.hostfile(slots=1)} --no-python sh -c"
    with shell_on(cluster) as terminal:
        terminal.type(
            f'{BIN}/madrun {words} "echo up; until [ -e {go} ]; do sleep 0.1; done; exit 7"\n'
        )
        terminal.until(":3] up")
        terminal.type("\x1a")
        terminal.until("Stopped")
        go.touch()
        terminal.until("failed first: exited with status 7")
        deadline = time.monotonic() + PATIENCE
        while "Exit 7" not in terminal.seen:  # the shell says so before a prompt
            assert time.monotonic() < deadline, terminal.seen
            terminal.type("\n")
            terminal.shown_within(0.2)
