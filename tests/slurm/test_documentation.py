"""docs/slurm.md is true: each of its commands runs, on a real Slurm."""

from __future__ import annotations

import re
import shutil

import pytest

from support.cluster import BIN, LOGIN, REPOSITORY, Cluster
from support.jobs import EXAMPLES

PAGE = (REPOSITORY / "docs" / "slurm.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```slurm\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS, ids=lambda text: text.split("\n")[-2][:60])
def test_a_command_runs(cluster: Cluster, block: str) -> None:
    folder = cluster.share / "docs"
    folder.mkdir(exist_ok=True)
    shutil.copy(EXAMPLES / "ring.py", folder / "train.py")
    path = f"{BIN}:{LOGIN['PATH']}"
    done = cluster.run("head", ["sh", "-e", "-c", block], cwd=folder, env={"PATH": path})
    shown = done.stdout + "".join(log.read_text() for log in folder.glob("slurm-*.out"))
    assert done.returncode == 0, done.stderr + shown
    assert "ranks: sum" in shown
    for log in folder.glob("slurm-*.out"):
        log.unlink()
