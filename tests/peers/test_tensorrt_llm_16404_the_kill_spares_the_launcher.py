"""TensorRT-LLM PR #16404: a kill of the whole tree took its own launcher with it."""

from __future__ import annotations

import signal

from support.here import Words, running
from support.jobs import WORKER


def test_the_launcher_lives_to_tell() -> None:
    words: list[Words] = [
        "--nproc-per-node",
        "2",
        "--grace",
        "0.1",
        WORKER,
        "hold",
        "daemons",
        "ignore-term",
    ]
    with running(*words) as job:
        job.until(r"up \d", 2)
        assert job.end(signal.SIGTERM) == 143
        assert job.said.endswith("ended because of it: ranks 0-1\n")
