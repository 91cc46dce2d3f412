"""The worker that failed below torchrun, as torchrun's last lines tell it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from madrun.agent.diagnosis.torchrun_summary import first_failure

SUMMARY = """\
Traceback (most recent call last):
  File "/venv/bin/torchrun", line 8, in <module>
    sys.exit(main())
torch.distributed.elastic.multiprocessing.errors.ChildFailedError:
=====================
train.py FAILED
---------------------
Failures:
[1]:
  rank      : 0 (local_rank: 0)
  exitcode  : -15 (pid: 20)  (SIGTERM)
Root Cause (first observed failure):
[0]:
  time      : 2026-11-21_06:44:42
  rank      : 5 (local_rank: 1)
  exitcode  : {exitcode}
  error_file: <N/A>
"""
OWN = """\
Traceback (most recent call last):
  File "/w/train.py", line 7, in <module>
ValueError: boom
"""


def told(text: str) -> str:
    return first_failure(text.split("\n"))


def test_a_killed_worker() -> None:
    text = OWN + SUMMARY.format(exitcode="-9 (pid: 21) (SIGKILL)")  # somebody else's traceback
    assert told(text) == "rank 5, local rank 1, below torchrun: killed by SIGKILL"


def test_an_exception() -> None:
    assert told(OWN + SUMMARY.format(exitcode="1 (pid: 21)")) == (
        "rank 5, local rank 1, below torchrun: exited with status 1; "
        "ValueError: boom (/w/train.py:7)"
    )


@pytest.mark.parametrize("text", ["", "Root Cause (first observed failure):\n", OWN])
def test_no_summary(text: str) -> None:
    assert told(text) == ""


@pytest.mark.torch
def test_the_real_torchrun(tmp_path: Path) -> None:
    program = tmp_path / "boom.py"
    program.write_text("raise ValueError('boom')\n", encoding="utf-8")
    done = subprocess.run(
        [Path(sys.executable).parent / "torchrun", "--standalone", "--nproc_per_node=1", program],
        capture_output=True, text=True, timeout=250, check=False,
        env={name: text for name, text in os.environ.items() if not name.startswith("COVERAGE_")},
    )  # fmt: skip
    assert told(done.stderr) == (
        "rank 0, local rank 0, below torchrun: exited with status 1; "
        f"ValueError: boom ({program}:1)"
    )
