"""Old records go, the oldest first; what runs, what is not ours and what links lead to stays."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from madrun.record.job_folder import hold
from madrun.record.pruning import prune, tend_logs
from madrun.record.retention import Found, Retention, retention, surplus
from madrun.system.errors import InputError
from support.here import madrun, refused, running
from support.programs import PATIENCE, line, program

HOST = os.uname().nodename
LONG_AGO = time.time() - 1_000_000


def job_id(number: int) -> str:
    return f"20260101-000000-{number:06x}"


def record(parent: Path, number: int, size: int = 100, over: bool = True) -> Path:
    """A record as a job leaves it; the higher its number, the newer."""
    folder = parent / job_id(number)
    (folder / "logs").mkdir(parents=True)
    folder.chmod(0o700)
    (folder / "job.json").write_text("{}")
    (folder / "events.jsonl").write_text("{}\n")
    (folder / f".{HOST}.lock").touch()
    if over:
        (folder / "summary.json").write_text("{}")
    (folder / "logs" / "rank0000.out").write_bytes(b"x" * size)
    make_old(folder, number)
    return folder


def make_old(folder: Path, number: int) -> None:
    for path in folder.rglob("*"):
        os.utime(path, (LONG_AGO + number, LONG_AGO + number), follow_symlinks=False)


def kept(parent: Path) -> list[str]:
    return sorted(each.name for each in parent.iterdir())


def ids(*numbers: int) -> list[str]:
    return [job_id(number) for number in numbers]


def test_the_newest_are_kept(tmp_path: Path) -> None:
    for number in range(60):
        record(tmp_path, number)
    assert prune(tmp_path.as_posix(), Retention()) == ids(*range(10))
    assert kept(tmp_path) == ids(*range(10, 60))


def test_the_oldest_go_until_the_size_fits(tmp_path: Path) -> None:
    for number, size in enumerate((5000, 100, 4000, 3000)):
        record(tmp_path, number, size)
    assert prune(tmp_path.as_posix(), Retention(None, 7500)) == ids(0)
    assert prune(tmp_path.as_posix(), Retention(None, 3500)) == ids(1, 2)


@pytest.mark.parametrize("over", [True, False])
def test_a_job_that_holds_its_lock_is_kept_however_old(tmp_path: Path, over: bool) -> None:
    folder = record(tmp_path, 0, over=over)
    record(tmp_path, 1)
    script = """
import sys, time
from madrun.record.job_folder import hold
hold(sys.argv[1])
print("held", flush=True)
time.sleep(1000)
"""
    with program(script, str(folder)) as holder:
        assert line(holder) == "held"
        make_old(folder, 0)
        assert prune(tmp_path.as_posix(), Retention(0)) == ids(1)
        holder.kill()
        holder.wait(PATIENCE)
        assert prune(tmp_path.as_posix(), Retention(0)) == ids(0), "the lock died with its holder"
    assert kept(tmp_path) == []


def test_runner_and_agent_hold_the_same_record(tmp_path: Path) -> None:
    folder = record(tmp_path, 0)
    first, second = hold(str(folder)), hold(str(folder))
    os.close(first)
    assert prune(tmp_path.as_posix(), Retention(0)) == []
    os.close(second)
    assert prune(tmp_path.as_posix(), Retention(0)) == ids(0)


def test_a_record_without_summary_goes_only_where_its_lock_can_be_seen(tmp_path: Path) -> None:
    record(tmp_path, 0, over=False)
    elsewhere = record(tmp_path, 1, over=False)
    (elsewhere / f".{HOST}.lock").rename(elsewhere / ".elsewhere.lock")
    recent = record(tmp_path, 2, over=False)
    os.utime(recent / "events.jsonl")
    unlocked = record(tmp_path, 3, over=False)
    (unlocked / f".{HOST}.lock").unlink()
    assert prune(tmp_path.as_posix(), Retention(0)) == ids(0)


def test_what_is_not_certainly_a_record_stays(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    theirs = record(outside, 1)
    parent = tmp_path / "jobs"
    with_notes = record(parent, 2)
    (with_notes / "notes.txt").write_text("mine")
    open_to_others = record(parent, 3)
    open_to_others.chmod(0o755)
    record(parent, 4).rename(parent / "20260101-000000-my-best")
    (parent / job_id(5)).symlink_to(theirs)
    (parent / job_id(6)).write_text("a file")
    (parent / "checkpoints").mkdir()
    (parent / "latest").symlink_to(job_id(2))
    mixed = parent / job_id(7)
    (mixed / "logs").mkdir(parents=True)
    mixed.chmod(0o700)
    (mixed / "logs" / "model.pt").write_text("precious")
    before = kept(parent)
    assert prune(str(parent), Retention(0, 0)) == []
    assert kept(parent) == before
    assert kept(outside) == ids(1)


def test_links_are_removed_and_what_they_lead_to_is_not(tmp_path: Path) -> None:
    parent, precious = tmp_path / "jobs", tmp_path / "precious"
    precious.mkdir()
    (precious / "model.pt").write_text("precious")
    one = record(parent, 0)
    (one / "logs" / "link").symlink_to(precious)
    other = record(parent, 1)
    (other / "logs" / "rank0000.out").unlink()
    (other / "logs").rmdir()
    (other / "logs").symlink_to(precious)
    assert prune(str(parent), Retention(0)) == ids(0, 1)
    assert kept(precious) == ["model.pt"]


def test_what_cannot_be_removed_is_left_and_the_next_goes(tmp_path: Path) -> None:
    script = """
import os, sys
from madrun.record import pruning
from madrun.record.retention import Retention
unlink = os.unlink
def refuse(name, **where):
    if name == "rank0000.out" and refuse.first:
        refuse.first = False
        raise PermissionError
    unlink(name, **where)
refuse.first = True
os.unlink = refuse
print(len(pruning.prune(sys.argv[1], Retention(0))))
"""
    for number in range(2):
        record(tmp_path, number)
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path],
        capture_output=True, text=True, check=True, timeout=PATIENCE,
    )  # fmt: skip
    assert done.stdout == "1\n"
    assert prune(tmp_path.as_posix(), Retention(0)) == ids(0), "what is left is finished later"


def test_logs_on_a_node_without_the_runners_home_are_pruned_by_its_agent(tmp_path: Path) -> None:
    def logs(number: int) -> Path:
        folder = tmp_path / job_id(number)
        (folder / "logs").mkdir(parents=True)
        folder.chmod(0o700)
        (folder / "logs" / "rank0003.out").write_text("x")
        make_old(folder, number)
        return folder / "logs"

    for number in range(4):
        logs(number)
    tend_logs(str(logs(4)), Retention(2))
    deadline = time.monotonic() + PATIENCE
    while len(kept(tmp_path)) > 2 and time.monotonic() < deadline:
        time.sleep(0.01)  # on a thread that nobody waits for
    assert kept(tmp_path) == ids(3, 4)
    assert (tmp_path / job_id(4) / f".{HOST}.lock").exists()


def test_a_job_keeps_what_is_asked_for_and_itself(tmp_path: Path) -> None:
    for number in range(30):
        record(tmp_path, number)
    with running("--job-dir", tmp_path, "--keep-jobs", "5", "--no-python", "sleep", "1000") as job:
        deadline = time.monotonic() + PATIENCE
        while len(kept(tmp_path)) > 6 and time.monotonic() < deadline:
            time.sleep(0.01)  # in the background
        names = kept(tmp_path)
        assert job.end(signal.SIGTERM) == 143
    assert names[:4] == ids(26, 27, 28, 29)
    assert names[5] == "latest"
    assert len(names) == 6


@pytest.mark.slow
def test_short_jobs_in_a_row_do_not_pile_up(tmp_path: Path) -> None:
    env = {"MADRUN_JOB_DIR": str(tmp_path), "MADRUN_KEEP_JOBS": "3"}
    for _ in range(12):
        assert madrun("--hosts", "localhost:1", "--no-python", "true", env=env).returncode == 0
    folders = [each for each in tmp_path.iterdir() if not each.is_symlink()]
    assert len(folders) <= 6
    assert json.loads((tmp_path / "latest" / "summary.json").read_text())["exit_status"] == 0


@pytest.mark.parametrize("text", ["x", "-1", "1.5", "5,,", "2XB", "none", "50;2GB"])
def test_a_limit_that_is_none_is_refused(text: str) -> None:
    assert f"--keep-jobs: {text!r}" in refused("--keep-jobs", text)
    assert f"MADRUN_KEEP_JOBS: {text!r}" in refused(env={"MADRUN_KEEP_JOBS": text})


@pytest.mark.parametrize(
    ("text", "limits"),
    [
        ("", Retention(50, 2 * 10**9)),
        ("7", Retention(7, 2 * 10**9)),
        ("500MB", Retention(50, 500 * 10**6)),
        ("7, 1.5tb", Retention(7, 1500 * 10**9)),
        ("all", Retention(None, None)),
        ("all,3GB", Retention(None, 3 * 10**9)),
    ],
)
def test_limits(text: str, limits: Retention) -> None:
    assert retention(text) == limits


def test_a_wrong_limit_names_its_origin() -> None:
    with pytest.raises(InputError, match="MADRUN_KEEP_JOBS"):
        retention("many", "MADRUN_KEEP_JOBS")


def test_a_job_that_runs_counts_but_stays() -> None:
    jobs = [Found("a", 1, 10, False), Found("b", 2, 10, True), Found("c", 3, 10, True)]
    assert surplus(jobs, Retention(2)) == ["b"]
