"""A launcher that another package brings, with real jobs."""

from __future__ import annotations

from support.cluster import BIN, Cluster
from support.plugins import PLUGINS, python_with
from support.ways import WAYS

FLUX = next(way for way in WAYS if way.name == "flux")
SHOW = "import os; print(os.uname().nodename, os.environ['NODE_RANK'], os.environ['ITEMS'])"


def test_it_plans_on_every_node(cluster: Cluster) -> None:
    python = python_with(PLUGINS)
    words = ("--hosts", "node02:2,node01:2", "--launcher", "once", "--launcher-opt", "items=5")
    done = cluster.run(
        "head",
        [python, "-m", "madrun.runner", *words, "--no-python", python, "-c", SHOW],
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(done.stdout.splitlines()) == [
        "[node01:once] node01 1 1 3",
        "[node02:once] node02 0 0 2 4",
    ]


def test_both_plug_ins_in_one_job(cluster: Cluster) -> None:
    words = ("--hosts", "node01,node03", "--launcher", "once", "--no-python", "hostname")
    done = FLUX.run(cluster, *words)
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(done.stdout.splitlines()) == ["[node01:once] node01", "[node03:once] node03"]


def test_a_node_without_the_plug_in_is_named_and_nothing_runs(cluster: Cluster) -> None:
    """The agents are started with a Python that has madrun, but not the plug-in."""
    mark = cluster.share / "ran-without-plug-in"
    words = ("--hosts", "node01", "--remote-python", BIN / "python", "--launcher", "once")
    done = cluster.run(
        "head",
        [python_with(PLUGINS), "-m", "madrun.runner", *words, "--no-python", "touch", mark],
    )
    assert done.returncode == 125
    assert "Unknown launcher type 'once'" in done.stderr
    assert not mark.exists()
