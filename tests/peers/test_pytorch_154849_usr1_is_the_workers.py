"""pytorch #154849: SIGUSR1, a wish for a checkpoint, killed the agent."""

from __future__ import annotations

import signal

from support.here import running

SAVE = """
trap 'echo saved $RANK; exit 0' USR1
echo up $RANK
while :; do sleep 4011 & wait; done
"""


def test_usr1_goes_to_the_workers_and_their_exit_counts() -> None:
    with running("--nproc-per-node", "2", "--no-python", "bash", "-c", SAVE) as job:
        job.until(r"up \d", 2)
        job.process.send_signal(signal.SIGUSR1)
        assert sorted(job.until(r"saved \d", 2)) == ["saved 0", "saved 1"]
        assert job.end() == 0
