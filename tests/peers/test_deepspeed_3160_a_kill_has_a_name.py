"""DeepSpeed #3160, #3232, #4890: "exits with return code = -9", and nothing else."""

from __future__ import annotations

import signal

from support.here import madrun


def test_rank_host_pid_and_signal_are_named() -> None:
    script = "test $RANK = 1 || exec sleep 4013; echo loading >&2; kill -KILL $$"
    done = madrun("--nproc-per-node", "2", "--no-python", "sh", "-c", script)
    assert done.returncode == 128 + signal.SIGKILL
    report = done.stderr[done.stderr.index("madrun: rank 1") :]
    assert report.startswith("madrun: rank 1 on localhost failed first: died of signal 9 (SIGKILL)")
    assert "    pid " in report
    assert "      loading\n" in report
