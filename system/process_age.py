"""How long ago a process started, by its own node's clock."""

from __future__ import annotations

import os
import time


def process_age(pid: int) -> float:
    """Seconds since the process was forked, to a hundredth; 0.0 where the kernel does not tell.

    >>> 0.0 <= process_age(os.getpid()) < 1e9
    True
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
        # starttime, the 22nd field of proc_pid_stat(5): ticks on the clock that counts a suspended
        # machine's time as well. The name before it may hold anything, hence the parenthesis.
        started = int(fields[19]) / os.sysconf("SC_CLK_TCK")
        return round(max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - started), 3)
    except (OSError, ValueError, IndexError):
        return 0.0
