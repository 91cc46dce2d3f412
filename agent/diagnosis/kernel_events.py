"""What the kernel has done to a job since its workers started: kills for memory, GPU errors."""

from __future__ import annotations

import os
import signal

from madrun.agent.diagnosis.kernel_log import KernelLog
from madrun.agent.diagnosis.memory_kills import MemoryKills

# PROC_PID_INIT_INO in linux/proc_ns.h: elsewhere the kernel's log has other process ids than we.
_FIRST_NAMESPACE = "pid:[4026531836]"


class KernelEvents:
    """Counters and log from its construction on; ``root`` is where /proc, /sys and /dev are."""

    def __init__(self, root: str = "/") -> None:
        self._memory = MemoryKills(root)
        self._log = KernelLog(os.path.join(root, "dev/kmsg"))
        self._same_ids = _namespace(root) == _FIRST_NAMESPACE

    def memory_words(self, pid: int, status: int) -> str:
        """Whether a worker that died so was killed for want of memory; no more than is known."""
        from madrun.agent.diagnosis.full_disks import size_words
        from madrun.agent.diagnosis.kernel_words import oom_victims

        victims, kills = oom_victims(self._log.lines()), self._memory.since()
        itself = victims.get(pid) if self._same_ids else None
        killed = status == -signal.SIGKILL
        if itself is None and not kills.group:
            return self._doubt(kills.group, kills.host) if killed else ""
        held = f" at {size_words(itself.held)}" if itself and itself.held else ""
        limit = self._memory.limit() if kills.group else 0
        bound = f"; its cgroup may have {size_words(limit)}" if limit else ""
        whom = "it" if itself or killed else "a process of the job"
        return f"out of memory: the kernel killed {whom}{held}{bound}"

    def gpu_words(self, pid: int) -> list[str]:
        """The GPU errors so far; those of other processes only where they hit all."""
        from madrun.agent.diagnosis.kernel_words import gpu_errors

        return gpu_errors(self._log.lines(), pid if self._same_ids else 0)

    def close(self) -> None:
        """Let go of the log."""
        self._log.close()

    def _doubt(self, group: int | None, host: int | None) -> str:
        if host == 0:
            return "not the kernel's out-of-memory killer: some process sent the signal"
        if group is None or not self._log.readable:
            return "out of memory? dmesg tells"
        return ""


def _namespace(root: str) -> str:
    try:
        return os.readlink(os.path.join(root, "proc/self/ns/pid"))
    except OSError:
        return ""
