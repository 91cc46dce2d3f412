"""DeepSpeed #6565, #8548: no numactl was a crash, and cores were counted from 0."""

from __future__ import annotations

import os
import sys

from support.here import shown

SHOW = """
import os
threads = os.listdir("/proc/self/task")
print({tuple(sorted(os.sched_getaffinity(int(thread)))) for thread in threads})
"""


def test_only_allowed_cores_are_shared() -> None:
    """The mask is set before the program starts: every thread of it has it (srt-slurm #326)."""
    allowed = os.sched_getaffinity(0)
    last = max(allowed)
    os.sched_setaffinity(0, {last})
    try:
        words = ["--bind-cores-to-rank", "--no-python", sys.executable, "-c", SHOW]
        assert shown(*words, env={"PATH": "/nowhere"}) == [f"{{({last},)}}"]
    finally:
        os.sched_setaffinity(0, allowed)
