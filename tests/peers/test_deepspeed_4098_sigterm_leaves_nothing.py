"""DeepSpeed #4098, #4160: SIGTERM was handled in one mode only; composer had no handler."""

from __future__ import annotations

import signal

import pytest

from support.here import running
from support.jobs import WORKER


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130)]
)
def test_every_wish_to_end_is_obeyed(number: signal.Signals, status: int) -> None:
    """The orphan oracle looks for what is left."""
    with running("--nproc-per-node", "2", WORKER, "hold", "daemons") as job:
        job.until(r"up \d", 2)
        assert job.end(number) == status
        assert f"stopped by {number.name}" in job.said
