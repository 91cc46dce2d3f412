"""A launcher that reports success while its workers still run has not succeeded."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from support.cluster import BIN
from support.programs import PATIENCE

# Stand-ins for a framework's launcher, whose worker says that it runs before the launcher goes.
LEAVES_A_WORKER = """#!/bin/sh
mkfifo up
LOCAL_RANK=0 RANK=0 {python} -u hold.py &
cat up
"""
LEAVES_A_SERVICE = """#!/bin/sh
mkfifo up
(echo >up; exec sleep 60) &
cat up
"""
HOLD = "open('up', 'w').close(); import time; time.sleep(60)"


@pytest.mark.parametrize(
    ("script", "status", "words"),
    [
        (LEAVES_A_WORKER, 1, "failed first: exited with status 0 while 1 worker of it still ran"),
        (LEAVES_A_SERVICE, 0, ""),
    ],
    ids=["worker", "service"],
)
def test_what_a_launcher_leaves_behind(
    tmp_path: Path, script: str, status: int, words: str
) -> None:
    (tmp_path / "hold.py").write_text(HOLD)
    path = tmp_path / "run.sh"
    path.write_text(script.format(python=BIN / "python"))
    path.chmod(0o755)
    done = subprocess.run(
        [BIN / "madrun", "--hosts", "localhost:1", "--grace", "2", "run.sh"],
        cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    assert done.returncode == status, done.stderr
    assert words in done.stderr
