"""pytorch #67538: SIGHUP ended the job in spite of nohup."""

from __future__ import annotations

import signal

from support.here import running
from support.jobs import WORKER


def test_nohup_is_obeyed() -> None:
    with running("--nproc-per-node", "2", WORKER, "hold", before=["nohup"]) as job:
        job.until(r"up \d", 2)
        job.process.send_signal(signal.SIGHUP)
        job.process.send_signal(signal.SIGUSR1)
        job.until(r"usr1 \d", 2)
        assert job.end(signal.SIGTERM) == 143
        assert "stopped by SIGTERM" in job.said
