"""open-mpi #8925: a second Ctrl-C left orphans."""

from __future__ import annotations

import signal
import subprocess

from support.here import Words, running
from support.jobs import WORKER


def test_one_may_press_it_as_often_as_one_likes() -> None:
    """The orphan oracle looks for what is left."""
    words: list[Words] = [
        "--nproc-per-node",
        "2",
        "--grace",
        "3600",
        WORKER,
        "hold",
        "daemons",
        "ignore-term",
    ]
    with running(*words) as job:
        job.until(r"up \d", 2)
        for _ in range(50):
            job.process.send_signal(signal.SIGINT)
            try:
                job.process.wait(0.3)
                break
            except subprocess.TimeoutExpired:
                continue
        assert job.end() == 130
