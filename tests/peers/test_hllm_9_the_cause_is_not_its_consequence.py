"""HLLM #9, Firefly #32, kohya_ss #897: ChildFailedError named a rank that had only followed."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from support.here import madrun

# Rank 0 waits for rank 1 through a pipe, and fails when that one is gone.
FAIL = """
import os, sys
if os.environ["RANK"] == "0":
    open("pipe").read()
    sys.exit("connection closed by peer")
pipe = open("pipe", "w")
raise ValueError("loss is nan")
"""


def test_the_report_has_the_first_error(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    done = madrun("--nproc-per-node", "2", "--no-python", sys.executable, "-c", FAIL, cwd=tmp_path)
    assert done.returncode == 1
    report = done.stderr[done.stderr.index("madrun: rank") :]
    assert report.startswith("madrun: rank 1 on localhost failed first: exited with status 1")
    assert "ValueError: loss is nan" in report
