"""The few calls of Linux that Python does not offer, and how we look at our own children."""

from __future__ import annotations

import ctypes
import os
import signal

PR_SET_PDEATHSIG = 1  # linux/prctl.h
PR_SET_CHILD_SUBREAPER = 36

_libc = ctypes.CDLL(None, use_errno=True)


def _prctl(option: int, value: int) -> None:
    if _libc.prctl(option, value, 0, 0, 0):
        number = ctypes.get_errno()
        raise OSError(number, f"prctl({option}): {os.strerror(number)}")


def become_subreaper() -> None:
    """Orphaned descendants of this process become its children: prctl(2), since Linux 3.4."""
    _prctl(PR_SET_CHILD_SUBREAPER, 1)


def die_with_parent(parent: int, number: int = signal.SIGKILL) -> None:
    """This process gets a signal when the *thread* that forked it ends.

    Lost across exec of a setuid program. Where the parent has ended already, this one ends now.
    """
    _prctl(PR_SET_PDEATHSIG, number)
    if os.getppid() != parent:
        os.kill(os.getpid(), number)


def children() -> list[int]:
    """The process ids of this process's children, adopted ones included.

    Only we reap them, so none of these ids can come to mean another process meanwhile.
    """
    found: list[int] = []
    try:
        for thread in os.listdir("/proc/self/task"):
            with open(f"/proc/self/task/{thread}/children", "rb") as file:
                found.extend(int(pid) for pid in file.read().split())
    except FileNotFoundError:  # a thread that just ended, or a kernel without PROC_CHILDREN
        import psutil

        return [child.pid for child in psutil.Process().children()]
    return found


def kill_children(spare: int = 0) -> None:
    """SIGKILL to every child but ``spare``. What a dead child leaves becomes our child in turn:
    called again after each death until none is left, this ends the whole tree, however the
    processes fork, detach or hide. One that leads a process group is killed with its group: half
    of a tool must not mourn the other (srun's second process has Slurm kill the agents' guards)."""
    for pid in children():
        if pid != spare:
            try:
                kill = os.killpg if os.getpgid(pid) == pid else os.kill
                kill(pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                continue  # reaped meanwhile / a setuid program of another user


def catches(pid: int, number: int) -> bool:
    """Whether a process handles, blocks or ignores a signal: then it does not end by it."""
    with open(f"/proc/{pid}/status", "rb") as file:
        lines = [line.split() for line in file if line.startswith(b"Sig")]
    masks = [int(mask, 16) for name, mask in lines if name in (b"SigCgt:", b"SigBlk:", b"SigIgn:")]
    return any(mask >> (number - 1) & 1 for mask in masks)


def command_of(pid: int) -> str:
    """A process for a message: its id, state, user id and command line."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            state = file.read().rpartition(b")")[2].split()[0].decode()
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            words = file.read().replace(b"\0", b" ").decode(errors="replace").strip()
        uid = os.stat(f"/proc/{pid}").st_uid
    except OSError:
        return f"pid {pid}"
    return f"pid {pid} (state {state}, uid {uid}) {words[:80]}"
