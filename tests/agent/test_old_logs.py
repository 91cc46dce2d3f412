"""On a node that does not share the runner's home, the agent removes the logs of old jobs."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from madrun.hosts.world import Node, World
from madrun.wire.jobspec import EXEC, JobSpec
from madrun.wire.messages import End
from support.driven_agent import agent
from support.programs import PATIENCE


def logs(parent: Path, number: int) -> Path:
    folder = parent / f"20260101-000000-{number:06x}" / "logs"
    folder.mkdir(parents=True)
    folder.parent.chmod(0o700)
    return folder


def test_old_logs_go_while_the_job_runs(tmp_path: Path) -> None:
    for number in range(5):
        file = logs(tmp_path, number) / "rank0000.out"
        file.write_text("old")
        os.utime(file, (1_700_000_000 + number,) * 2)
    own = logs(tmp_path, 9)
    spec = JobSpec(
        "j", World((Node("here", (0,)),)), ("sleep", "1000"), mode=EXEC, python=sys.executable,
        workdir=str(tmp_path), log_dir=str(own), log_dir_optional=True, keep_jobs="3",
    )  # fmt: skip
    with agent() as driven:
        driven.go(spec)
        deadline = time.monotonic() + PATIENCE
        while len([*tmp_path.iterdir()]) > 3 and time.monotonic() < deadline:
            time.sleep(0.01)  # in the background
        left = sorted(each.name[-1] for each in tmp_path.iterdir())
        driven.tell(End(0.0, "enough"))
        driven.over()
    assert left == ["3", "4", "9"]
    assert (own.parent / f".{os.uname().nodename}.lock").exists()
