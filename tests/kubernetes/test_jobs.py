"""Jobs in pods, from the command to the last object: what users see of them."""

from __future__ import annotations

import json
import re
from pathlib import Path

from support.kube import Kube

SHOW = "import os; print(os.environ['RANK'], os.environ['WORLD_SIZE'], os.environ['MASTER_ADDR'])"

FAILS = """
import os, sys, time
if os.environ['RANK'] == '1':
    print("bad things", file=sys.stderr)
    sys.exit(3)
time.sleep(1000)
"""


def plain(text: str) -> list[str]:
    """Lines without what is another one in each job."""
    return sorted(re.sub(r"-[0-9a-f]{6}\b", "", line) for line in text.splitlines())


def test_two_pods_of_two_workers(kube: Kube) -> None:
    done = kube.run("--nnodes", "2", "--nproc-per-node", "2", "--no-python", "python3", "-c", SHOW)
    assert done.returncode == 0, done.stderr
    assert plain(done.stdout) == [
        "[python3-0:0] 0 4 python3-0.python3", "[python3-0:1] 1 4 python3-0.python3",
        "[python3-1:2] 2 4 python3-0.python3", "[python3-1:3] 3 4 python3-0.python3",
    ]  # fmt: skip
    assert kube.left() == []


def test_a_pod_that_fails_ends_the_job_with_its_status(kube: Kube) -> None:
    words = ["--nnodes", "2", "--nproc-per-node", "1", "--no-python", "python3", "-c", FAILS]
    done = kube.run(*words)
    assert done.returncode == 3, done.stderr
    assert re.search(
        r"madrun: rank 1 on python3-\w{6}-1 failed first: exited with status 3", done.stderr
    )
    assert "bad things" in done.stderr
    assert kube.left() == []
    (summary,) = Path(kube.jobs).glob("2*/summary.json")
    told = json.loads(summary.read_text())
    assert (told["exit_status"], told["kind"]) == (3, "worker")
