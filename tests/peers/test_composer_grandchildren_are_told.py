"""composer: SIGTERM went to the direct child only, so that what it ran could never save."""

from __future__ import annotations

import signal

from support.here import running

NESTED = "(trap 'echo saved; exit' TERM; echo up; sleep 4012) & wait"


def test_a_grandchild_gets_its_sigterm() -> None:
    with running("--grace", "60", "--no-python", "sh", "-c", NESTED) as job:
        job.until("up")
        assert job.end(signal.SIGTERM) == 143
        assert "saved" in job.said
