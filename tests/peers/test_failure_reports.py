"""Failure reports: the rank that failed first, its host, its signal, and each host's own reason."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from support.here import madrun


def test_rank_host_pid_and_signal_are_named() -> None:
    """DeepSpeed #3160, #3232, #4890: "exits with return code = -9", and nothing else."""
    script = "test $RANK = 1 || exec sleep 4013; echo loading >&2; kill -KILL $$"
    done = madrun("--nproc-per-node", "2", "--no-python", "sh", "-c", script)
    assert done.returncode == 128 + signal.SIGKILL
    report = done.stderr[done.stderr.index("madrun: rank 1") :]
    assert report.startswith("madrun: rank 1 on localhost failed first: died of signal 9 (SIGKILL)")
    assert "    pid " in report
    assert "      loading\n" in report


# Rank 0 fails once the end of rank 1 was seen: its agent has reaped it.
FAIL = """
import os, sys, time
if os.environ["RANK"] == "0":
    peer = open("pipe").read().strip()
    while os.path.exists("/proc/" + peer):
        time.sleep(0.01)
    sys.exit("connection closed by peer")
with open("pipe", "w") as pipe:
    print(os.getpid(), file=pipe)
raise ValueError("loss is nan")
"""


def test_the_report_has_the_first_error(tmp_path: Path) -> None:
    """HLLM #9, Firefly #32, kohya_ss #897: ChildFailedError named a rank that had only followed."""
    os.mkfifo(tmp_path / "pipe")
    done = madrun("--nproc-per-node", "2", "--no-python", sys.executable, "-c", FAIL, cwd=tmp_path)
    assert done.returncode == 1
    report = done.stderr[done.stderr.index("madrun: rank") :]
    assert report.startswith("madrun: rank 1 on localhost failed first: exited with status 1")
    assert "ValueError: loss is nan" in report


def test_each_host_each_port_each_reason(tmp_path: Path) -> None:
    """DeepSpeed #4907, #579: only host 0 was probed, at one port for all, and it said little."""
    (tmp_path / "hosts").write_text("127.0.0.1 slots=1 port=1\nroot@127.0.0.2 slots=1 port=2\n")
    done = madrun("-H", "hosts", "--no-python", "true", cwd=tmp_path)
    assert done.returncode == 125
    assert "2 of 2 hosts cannot run it" in done.stderr
    for name, place in (("127.0.0.1", "127.0.0.1 port 1"), ("root@127.0.0.2", "127.0.0.2 port 2")):
        lines = [line.split() for line in done.stderr.splitlines() if f" {name} " in f"{line} "]
        assert lines == [[name, "unreachable:", *f"{place}: Connection refused".split()]]
