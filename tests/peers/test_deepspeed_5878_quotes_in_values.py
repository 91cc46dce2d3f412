"""DeepSpeed #5878, #6997, #7071, #1907: values were quoted once too often, or once too few."""

from __future__ import annotations

import json
import sys

from support.cluster import Cluster
from support.here import shown

VALUE = json.dumps({"lr": 0.1, "name": 'it\'s "$HOME"'})
SHOW = ("--no-prefix", "--no-python", sys.executable, "-c", "import os; print(os.environ['CONF'])")


def test_json_in_a_variable_stays_json_here() -> None:
    assert shown("--hosts", "localhost", "--export", f"CONF={VALUE}", *SHOW) == [VALUE]


def test_and_on_other_hosts(cluster: Cluster) -> None:
    done = cluster.madrun("--hosts", "node01,head", "--export", "CONF", *SHOW, env={"CONF": VALUE})
    assert (done.returncode, done.stdout) == (0, f"{VALUE}\n{VALUE}\n"), done.stderr
