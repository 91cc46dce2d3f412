"""DeepSpeed #6807: Ctrl-C on one job killed every job of the user, and those exited with 0."""

from __future__ import annotations

import signal

from support.here import Words, running
from support.jobs import WORKER


def test_the_other_job_does_not_notice() -> None:
    words: list[Words] = ["--nproc-per-node", "2", WORKER, "hold"]
    with running(*words) as one, running(*words, "daemons") as other:
        one.until(r"up \d", 2)
        other.until(r"up \d", 2)
        assert one.end(signal.SIGINT) == 130
        other.process.send_signal(signal.SIGUSR1)
        other.until(r"usr1 \d", 2)
        assert other.end(signal.SIGTERM) == 143
