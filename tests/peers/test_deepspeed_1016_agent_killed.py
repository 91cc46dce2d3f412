"""DeepSpeed #1016, #4003: the agent was killed, its workers kept the GPUs, and the exit was 0."""

from __future__ import annotations

import os
import signal

from support.here import running
from support.jobs import WORKER
from testbed import processes


def test_the_workers_of_a_killed_agent_end() -> None:
    with running("--nproc-per-node", "2", WORKER, "hold", "daemons") as job:
        job.until(r"up \d", 2)
        (core,) = processes.children(job.process.pid)
        os.kill(core.outer_pid, signal.SIGKILL)
        assert job.end() == 125
        assert "died of signal 9 (SIGKILL)" in job.said
