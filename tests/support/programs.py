"""Small Python programs as child processes, and how a test waits for what they say."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

PATIENCE = 100.0  # seconds until a test gives up on an event; only one that fails waits so long

Program = subprocess.Popen[bytes]


@contextmanager
def program(script: str, *args: str, **options: Any) -> Iterator[Program]:
    """Run a script; it is killed at the end if it is still there."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    command = [sys.executable, "-c", script, *args]
    with subprocess.Popen(command, **{**pipes, **options}) as process:
        try:
            yield process
        finally:
            process.kill()


def line(process: Program) -> str:
    """The next line of its stdout; empty at the end."""
    assert process.stdout is not None
    return process.stdout.readline().decode().rstrip("\n")


def words(process: Program) -> list[int]:
    """The next line of its stdout, as numbers."""
    return [int(word) for word in line(process).split()]


def status_of(script: str, *args: str, env: Mapping[str, str] | None = None) -> int:
    """Run a script to its end; its returncode."""
    with program(script, *args, env=env) as process:
        return process.wait(PATIENCE)


def wait_gone(pid: int) -> None:
    """Wait until a process of somebody else has ended (a zombie has)."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        assert select.select([fd], [], [], PATIENCE)[0], f"process {pid} lives on"
    finally:
        os.close(fd)


def wait_stopped(pid: int) -> None:
    """Wait until a process is stopped by a signal; /proc is all there is to ask."""
    deadline = time.monotonic() + PATIENCE
    while state_of(pid) != "T":
        assert time.monotonic() < deadline, f"process {pid} does not stop"
        time.sleep(0.005)


def wait_pending(pid: int, number: int) -> None:
    """Wait until a signal waits for a process that cannot take it now."""
    deadline = time.monotonic() + PATIENCE
    while number not in signals_of(pid, "ShdPnd"):
        assert time.monotonic() < deadline, f"process {pid} got no signal {number}"
        time.sleep(0.005)


def signals_of(pid: int, mask_name: str) -> set[int]:
    """The signals that a process was sent and has not taken (ShdPnd), or that it blocks (SigBlk).

    None where it is not there.
    """
    try:
        with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as file:
            (mask,) = (int(line.split()[1], 16) for line in file if line.startswith(mask_name))
    except OSError:
        return set()
    return {number for number in signal.valid_signals() if mask >> (number - 1) & 1}


def state_of(pid: int) -> str:
    """The state letter of a process; Z where it is not there at all."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"


def is_alive(pid: int) -> bool:
    """True for a process that runs or could."""
    return state_of(pid) != "Z"


def end(pid: int) -> None:
    """Kill a process of this test that nobody else ends."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    wait_gone(pid)
