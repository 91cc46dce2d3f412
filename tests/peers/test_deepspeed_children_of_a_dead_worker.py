"""DeepSpeed: the data loaders of a worker that had crashed were never found again."""

from __future__ import annotations

from support.here import running
from support.jobs import WORKER


def test_what_a_dead_worker_left_is_ended() -> None:
    """The daemons hold the output open: its end says that they are gone."""
    with running("--nproc-per-node", "2", WORKER, "hold", "daemons", "signal=1:9") as job:
        job.until(r"up \d", 2)
        assert job.end() == 137
