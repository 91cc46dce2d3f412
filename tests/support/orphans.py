"""The orphan oracle: nothing a test started may outlive it.

On this machine: every descendant of ours. We are made a subreaper (prctl(2)), so that a process
whose parent is gone becomes our child, however often it forked or called setsid; nobody else's
processes are ever looked at. In the hosts of the testbed: every process that was not there before.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from support import ends
from testbed import processes

if TYPE_CHECKING:
    from support.cluster import Cluster
    from testbed.processes import Process

PATIENCE = 10.0  # seconds; only a test that fails waits so long
PR_SET_CHILD_SUBREAPER = 36


def adopt_orphans() -> None:
    """Become the parent of every orphan among our descendants."""
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


@dataclass(frozen=True)
class Oracle:
    """Remembers who was there, and tells who is there that was not."""

    known: frozenset[Process]
    cluster: Cluster | None

    @classmethod
    def now(cls, cluster: Cluster | None = None) -> Oracle:
        """An oracle that takes whoever runs at this moment for granted."""
        return cls(frozenset(_running(cluster)), cluster)

    def newcomers(self) -> list[Process]:
        """Who has come since and is still there; sshd's own processes are not counted."""
        return [each for each in self._strangers() if not _is_sshd(each)]

    def _strangers(self) -> list[Process]:
        _reap_adopted(self.known)
        found = _running(self.cluster) - self.known
        return [each for each in found if each.state != "Z" and not _is_host_itself(each)]

    def survivors(self, patience: float = PATIENCE) -> list[Process]:
        """Who is still there after a while; empty as soon as nobody is."""
        return ends.gone(self.newcomers, patience)

    def clean(self) -> None:
        """Kill every newcomer, and sshd's sessions that wait for a client which is gone."""
        deadline = time.monotonic() + PATIENCE
        while (left := self._strangers()) and time.monotonic() < deadline:
            for each in left:
                each.kill()
            ends.first_end(left, deadline)


def _running(cluster: Cluster | None) -> set[Process]:
    found = {each for each in processes.descendants(os.getpid()) if _is_here(each)}
    return found | set(cluster.processes() if cluster else [])


def _is_here(process: Process) -> bool:
    """Whether it lives in our pid namespace: the hosts' processes are our descendants as well."""
    try:
        namespace = os.readlink(f"/proc/{process.outer_pid}/ns/pid")
    except OSError:
        return False
    return namespace == os.readlink("/proc/self/ns/pid")


def _reap_adopted(known: frozenset[Process]) -> None:
    """Reap dead orphans, and dead hosts; not what was started before, which has an owner."""
    for child in processes.children(os.getpid()):
        if child.state == "Z" and (child not in known or not _is_here(child)):
            with contextlib.suppress(ChildProcessError):
                os.waitpid(child.outer_pid, os.WNOHANG)


def _is_host_itself(process: Process) -> bool:
    """Process 1 of a host that was started anew, and the daemons that it keeps."""
    if process.host == "here":
        return False
    if process.ppid == 1 and os.path.basename(process.argv[0]) in ("slurmd", "munged"):
        return True
    listens = _is_sshd(process) and "[listener]" in process.cmdline
    return process.pid == 1 or (process.ppid == 1 and listens)


def _is_sshd(process: Process) -> bool:
    try:
        program = os.readlink(f"/proc/{process.outer_pid}/exe")
    except OSError:
        return False
    return process.host != "here" and os.path.basename(program).startswith("sshd")
