"""The record of jobs on real hosts, whoever is killed and when: it parses, and it is true."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.cluster import BIN, Cluster
from support.faults import runner_processes
from support.jobs import WORKER, Running, agents, nothing_left, workers

SECRET = "hunter2-is-no-password"


@pytest.fixture
def jobs(cluster: Cluster) -> Iterator[Path]:
    """A folder for records that the hosts share with us."""
    with tempfile.TemporaryDirectory(dir=cluster.share) as path:
        yield Path(path)


def folder_of(jobs: Path) -> Path:
    """The folder of the only job there."""
    found = [path for path in jobs.iterdir() if path.name != "latest"]
    assert len(found) == 1, found
    return found[0]


def checked(jobs: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Summary and events, which parse; all of it is its owner's alone, and without the secret."""
    folder = folder_of(jobs)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for path in folder.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
        assert path.is_dir() or SECRET not in path.read_text(), path
    lines = (folder / "events.jsonl").read_bytes().split(b"\n")
    assert lines.pop() == b""
    events = [json.loads(line) for line in lines]
    assert all(event["v"] == 1 for event in events)
    summary = json.loads((folder / "summary.json").read_text())
    if any(event["event"] == "begin" for event in events):
        assert json.loads((folder / "job.json").read_text())["job_id"] == summary["job_id"]
    return summary, events


def job_with_record(cluster: Cluster, jobs: Path, *words: str) -> Running:
    """A job of 8 workers on four hosts."""
    hostfile = cluster.hostfile(slots=2)
    options = ["--job-dir", str(jobs), "--grace", "1", "--export", f"TOKEN={SECRET}"]
    return Running(cluster, ["--hostfile", str(hostfile), *options, *words, str(WORKER), "hold"])


def test_pids_and_statuses_are_those_of_the_hosts(cluster: Cluster, jobs: Path) -> None:
    job = job_with_record(cluster, jobs, "-v")
    job.up(8)
    there = {each: [worker.pid for worker in workers(cluster, each)] for each in cluster.hosts}
    their_agents = {each: tuple(p.pid for p in agents(cluster, each)) for each in cluster.hosts}
    runner = cluster.inner_pid(job.process)
    os.kill(workers(cluster, "node02")[1].outer_pid, signal.SIGKILL)
    assert job.wait() == 137
    summary, _ = checked(jobs)
    pids = summary["pids"]
    assert pids["runner"]["guard"] == runner
    assert {
        host: (of_host["guard"], of_host["core"]) for host, of_host in pids["agents"].items()
    } == their_agents
    for host, expected in there.items():
        found = [each["pid"] for each in summary["workers"].values() if each["host"] == host]
        assert sorted(found) == sorted(expected)
    assert summary["exit_status"] == 137
    assert summary["first_failure"]["host"] == "node02"
    assert summary["first_failure"]["signal"] == "SIGKILL"
    others = [each for each in summary["workers"].values() if each["host"] != "node02"]
    assert all(each["ended"] for each in others)
    hosts = summary["startup"]["hosts"]
    assert {each["host"] for each in hosts} == set(cluster.hosts)
    for part in ("connect", "log in", "agent", "import", "check in", "start"):
        assert all(0 <= each[part] < 60 for each in hosts), part
    assert f"the slowest host was {summary['startup']['slowest']}" in job.stderr


def pids_at(cluster: Cluster, job: Running) -> tuple[int, int]:
    """Guard and core of the runner, as we see them; a core that is not there yet is the guard."""
    guard = cluster.process(job.process)
    found = runner_processes(cluster)
    return guard.outer_pid, found[1].outer_pid if found[1:] else guard.outer_pid


@pytest.mark.parametrize("victim", ["guard", "core"])
@pytest.mark.parametrize("round_", range(4))
def test_sigkill_at_any_moment_leaves_a_record_that_is_true(
    cluster: Cluster, jobs: Path, victim: str, round_: int
) -> None:
    chance = random.Random(f"{victim} {round_}")
    job = job_with_record(cluster, jobs)
    if round_ % 2:
        job.up(8)
    else:
        time.sleep(chance.uniform(0.05, 1.5))  # the moment is what is tested
    guard, core = pids_at(cluster, job)
    os.kill({"guard": guard, "core": core}[victim], signal.SIGKILL)
    status = job.wait()
    nothing_left(cluster)
    if not any(jobs.iterdir()):
        assert round_ % 2 == 0  # killed before there was a job
        return
    if victim == "guard" and not (folder_of(jobs) / "summary.json").exists():
        pytest.fail("the core outlived its guard and wrote no summary")
    summary, events = checked(jobs)
    if victim == "core":
        assert status == summary["exit_status"] == 125
        assert (summary["kind"], summary["written_by"]) == ("core", "guard")
    else:
        assert summary["exit_status"] in (143, 125)
        assert summary["kind"] in ("guard", "launch")
    if round_ % 2:
        assert len(summary["pids"]["workers"]) == 8
        assert events[-1]["event"] == "end"


def test_each_job_has_the_whole_output_of_its_ranks(cluster: Cluster, jobs: Path) -> None:
    """One fails once all have written: who is ended before has nothing to say."""
    hostfile = cluster.hostfile(slots=2)
    script = f"seq 3; echo $RANK >&2; exec {BIN / 'python'} {WORKER} exit=5:1"
    words = ("--hostfile", hostfile, "--job-dir", jobs, "--no-python", "sh", "-c", script)
    done = cluster.madrun("--output", "none", *words)
    assert done.returncode == 1
    logs = folder_of(jobs) / "logs"
    goodbye = {5: "rank 5 says goodbye\n"}
    assert {path.name: path.read_text() for path in logs.glob("*.err")} == {
        f"rank000{rank}.err": f"{rank}\n{goodbye.get(rank, '')}" for rank in range(8)
    }
    assert {path.name: path.read_text() for path in logs.glob("*.out")} == {
        f"rank000{rank}.out": f"1\n2\n3\nup {rank}\n" for rank in range(8)
    }
    assert re.search(rf"all of its output: node0\d:{logs}/rank000\d.err", done.stderr)


def test_hosts_that_can_keep_no_logs_run_all_the_same(cluster: Cluster) -> None:
    """/proc takes no folder, not even from root; it is said once, and not by a failure."""
    hostfile = cluster.hostfile(slots=1)
    words: list[str | Path] = [
        "--hostfile",
        hostfile,
        "--job-dir",
        "/proc/none",
        "--no-python",
        "echo",
        "there",
    ]
    done = cluster.madrun("--no-prefix", *words)
    assert (done.returncode, done.stdout) == (0, "there\n" * 4)
    found = re.findall("no log files on (.*?): /proc/none/.*/logs: No such file", done.stderr)
    assert found == ["node01, node02, node03, node04"], done.stderr


def test_json_of_a_job_on_hosts(cluster: Cluster) -> None:
    hostfile = cluster.hostfile(slots=1)
    done = cluster.madrun(
        "--hostfile", hostfile, "--json", "--no-python", "sh", "-c", "echo $RANK"
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    output = {(each["host"], each["text"]) for each in events if each["event"] == "output"}
    assert output == {(host, str(rank)) for rank, host in enumerate(cluster.hosts)}
    assert events[-1]["event"] == "end"
