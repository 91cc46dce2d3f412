"""The record of a job: complete lines, true summaries, no secret, and no job that suffers by it."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from madrun.record.event import Event
from madrun.record.job_folder import EVENTS, SUMMARY, JobFolder
from madrun.record.recorder import Recorder
from madrun.record.summary import conclude, make_event, summarize
from madrun.runner.description import described
from madrun.runner.launch import recorded_plan
from madrun.runner.plan import Plan, make_plan
from madrun.system.errors import InputError
from madrun.system.pid_file import PidFile, remove_abandoned
from support.cluster import BIN
from support.programs import PATIENCE, wait_gone
from support.requests import request_of
from testbed import processes

MADRUN = str(BIN / "madrun")
HOLD = "echo ready; while :; do sleep 60; done"


# ---- the folder


def test_folders_are_for_their_owner_alone(tmp_path: Path) -> None:
    folder = JobFolder(str(tmp_path / "a" / "jobs" / "j1"))
    folder.make()
    folder.append("{}")
    folder.write(SUMMARY, "{}\n")
    folder.close()
    made = [tmp_path / "a", tmp_path / "a" / "jobs", tmp_path / "a" / "jobs" / "j1"]
    assert [stat.S_IMODE(path.stat().st_mode) for path in made] == [0o700] * 3
    files = [stat.S_IMODE(path.stat().st_mode) for path in made[-1].iterdir()]
    assert files == [0o600] * 2


def test_latest_is_the_last_job_and_no_folder_of_somebody_is_replaced(tmp_path: Path) -> None:
    for name in ("j1", "j2"):
        folder = JobFolder(str(tmp_path / name))
        folder.make()
        folder.point_latest()
    assert os.readlink(tmp_path / "latest") == "j2"
    (tmp_path / "latest").unlink()
    (tmp_path / "latest").mkdir()
    folder.point_latest()
    assert not (tmp_path / "latest").is_symlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["j1", "j2", "latest"]


@pytest.mark.parametrize("tail", ["", '{"v": 1, "ev', "x" * 200_000])
def test_the_beginning_of_a_line_is_cut_off(tmp_path: Path, tail: str) -> None:
    folder = JobFolder(str(tmp_path))
    (tmp_path / EVENTS).write_text('{"a": 1}\n' + tail)
    folder.repair()
    folder.append('{"a": 2}')
    folder.close()
    assert [json.loads(line)["a"] for line in folder.events()] == [1, 2]


# ---- the summary


def event(name: str, at: float, /, **fields: object) -> dict[str, Any]:
    """An event whose wall clock is its monotonic one."""
    return {**make_event(name, at, fields), "t": fields.get("t", at), "mono": at}


BEGIN = event("begin", 1.0, job_id="j", pids={"guard": 7, "core": 8})
STARTED = event("started", 2.0, host="a", workers={"0": 11, "1": 12})


def exit_of(rank: int, status: int, t: float, ended: bool) -> dict[str, Any]:
    return event("exited", 9.0, host="a", rank=rank, pid=11 + rank, status=status, t=t, ended=ended)


def end_of(status: int, kind: str, cause: str) -> dict[str, Any]:
    fields = {"exit_status": status, "kind": kind, "cause": cause, "report": f"madrun: {cause}"}
    return event("end", 10.0, job_id="j", rank=None, **fields)


def test_the_first_failure_is_not_one_that_we_caused() -> None:
    events = [BEGIN, STARTED, exit_of(0, -15, 3.0, True), exit_of(1, 5, 4.0, False)]
    summary = summarize([*events, end_of(5, "worker", "rank 1 failed")], "core")
    assert summary["first_failure"]["rank"] == 1
    assert summary["cause"] == "rank 1 failed"
    assert (summary["exit_status"], summary["seconds"]) == (5, 9.0)
    assert summary["pids"]["runner"] == {"guard": 7, "core": 8}
    assert summary["pids"]["workers"] == {"0": 11, "1": 12}


def test_workers_of_which_nothing_was_heard_have_no_status() -> None:
    summary = summarize([BEGIN, STARTED], "guard")
    assert [each["status"] for each in summary["workers"].values()] == [None, None]
    assert summary["first_failure"] is None


def test_a_guard_concludes_what_its_core_could_not(tmp_path: Path) -> None:
    pids = {"guard": 7, "core": 8}
    lines = "".join(json.dumps(each) + "\n" for each in (BEGIN, STARTED))
    (tmp_path / EVENTS).write_text(lines + '{"v": 1, "t"')
    conclude(str(tmp_path), "j", pids, (-9, 125))
    summary = json.loads((tmp_path / SUMMARY).read_text())
    assert (summary["exit_status"], summary["kind"], summary["written_by"]) == (
        125,
        "core",
        "guard",
    )
    assert "died of signal 9 (SIGKILL)" in summary["cause"]
    assert [json.loads(line)["event"] for line in JobFolder(str(tmp_path)).events()] == [
        "begin", "started", "end",
    ]  # fmt: skip
    before = (tmp_path / SUMMARY).read_bytes()
    conclude(str(tmp_path), "j", pids, (0, 0))  # a summary that is there is the better one
    assert (tmp_path / SUMMARY).read_bytes() == before


def test_a_guard_concludes_where_the_record_had_not_begun(tmp_path: Path) -> None:
    conclude(str(tmp_path / "x" / "j"), "j", {"guard": 7, "core": 8}, (-9, 125))
    summary = json.loads((tmp_path / "x" / "j" / SUMMARY).read_text())
    assert summary["pids"]["runner"] == {"guard": 7, "core": 8}


# ---- the writer


def plan_of(tmp_path: Path, **options: Any) -> Plan:
    environ = {"HOME": str(tmp_path), "WANDB_API_KEY": "hunter2", "NOT_ASKED": "hunter3"}
    return make_plan(request_of("train.py", **options), environ, str(tmp_path), sys.executable)


def test_the_plan_has_names_of_variables_but_no_values(tmp_path: Path) -> None:
    file = tmp_path / "env"
    file.write_text("FROM_FILE=hunter4\n")
    plan = plan_of(tmp_path, export=("TOKEN=hunter5", "NOT_ASKED"), env_file=(str(file),))
    text = json.dumps(described(plan))
    assert "hunter" not in text
    names = json.loads(text)["exported"]
    assert {"WANDB_API_KEY", "FROM_FILE", "TOKEN", "NOT_ASKED"} <= set(names)
    assert json.loads(text)["options"]["export"] == ["TOKEN", "NOT_ASKED"]


@pytest.mark.parametrize(
    ("given", "environ", "expected"),
    [
        ("", {"HOME": "/h"}, "/h/.madrun/jobs"),
        ("", {"HOME": "/h", "MADRUN_JOB_DIR": "/e"}, "/e"),
        ("d", {"HOME": "/h", "MADRUN_JOB_DIR": "/e"}, "/here/d"),
    ],
)
def test_where_records_are(given: str, environ: dict[str, str], expected: str) -> None:
    request = request_of("x", job_dir=given)
    assert make_plan(request, environ, "/here", sys.executable).job_dir == expected


def test_a_full_disk_is_said_once_and_stops_nobody(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "j"
    folder.mkdir()
    (folder / EVENTS).symlink_to("/dev/full")
    record = Recorder(recorded_plan(plan_of(tmp_path))._replace(folder=str(folder)))
    for number in range(10):
        record.take(Event("note", float(number), {}))
    record.close()
    said = capfd.readouterr().err
    assert said.count("madrun:") == 1
    assert "not complete" in said
    assert "No space left on device" in said


@pytest.mark.parametrize(
    ("given", "expected", "link"),
    [("L", "L", True), ("none", "", False), ("", "jobs/ID/logs", False)],
)
def test_where_log_files_are(tmp_path: Path, given: str, expected: str, link: bool) -> None:
    plan = plan_of(tmp_path, log_dir=given, job_dir="jobs")
    path = str(tmp_path / expected.replace("ID", plan.spec.job_id)) if expected else ""
    assert (plan.spec.log_dir, plan.spec.log_dir_optional) == (path, not given)
    Recorder(recorded_plan(plan)._replace(folder=str(tmp_path / "j"))).close()
    logs = tmp_path / "j" / "logs"
    assert logs.is_symlink() == link
    assert not link or os.readlink(logs) == path


# ---- pid files


def test_a_stale_pid_file_is_replaced_and_removed_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    path.write_text(f"{os.getpid()}\n")  # used again, by a process that is no madrun
    held = PidFile(str(path), 4711)
    assert path.read_text() == "4711\n"
    held.remove()
    assert not path.exists()


def test_a_pid_file_that_is_held_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    held = PidFile(str(path), 4711)
    with pytest.raises(InputError, match="held by a job that runs, pid 4711"):
        PidFile(str(path), 4712)
    assert path.read_text() == "4711\n"
    held.remove()


def test_what_is_no_pid_file_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "train.py"
    path.write_text("print(1)\n")
    with pytest.raises(InputError, match="something else in it"):
        PidFile(str(path), 1)
    assert path.read_text() == "print(1)\n"
    with pytest.raises(InputError, match="No such file or directory"):
        PidFile(str(tmp_path / "none" / "pid"), 1)


def test_an_abandoned_pid_file_is_removed_but_not_that_of_another(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    path.write_text("5\n")
    remove_abandoned(str(path), 6)
    assert path.exists()
    remove_abandoned(str(path), 5)
    assert not path.exists()


# ---- the command


def started(tmp_path: Path, *words: str) -> subprocess.Popen[str]:
    """A madrun whose one worker runs until it is ended."""
    process = subprocess.Popen(
        [MADRUN, "--job-dir", str(tmp_path / "jobs"), "--grace", "1", *words,
         "--no-python", "sh", "-c", HOLD],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    while "ready" not in (line := process.stdout.readline()):
        assert line
    recorded(tmp_path / "jobs")
    return process


def recorded(jobs: Path) -> None:
    """Wait until the start of the job's workers is in its record; there is nobody to tell us."""
    deadline = time.monotonic() + PATIENCE
    while not any(b'"started"' in path.read_bytes() for path in jobs.glob("*/events.jsonl")):
        assert time.monotonic() < deadline
        time.sleep(0.005)


def record_of(tmp_path: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Summary and events of the last job."""
    folder = tmp_path / "jobs" / "latest"
    lines = (folder / EVENTS).read_bytes().split(b"\n")
    assert lines[-1] == b""
    assert json.loads((folder / "job.json").read_text())["v"] == 1
    return json.loads((folder / SUMMARY).read_text()), [json.loads(line) for line in lines[:-1]]


def core_of(guard: int) -> int:
    (reaper,) = processes.children(guard)
    (core,) = processes.children(reaper.outer_pid)
    return core.outer_pid


def test_a_job_leaves_its_record(tmp_path: Path) -> None:
    command = [MADRUN, "--job-dir", str(tmp_path / "jobs"), "--nproc-per-node", "2"]
    done = subprocess.run(
        [*command, "--no-python", "sh", "-c", "echo hi; test $RANK = 0 || exit 3; sleep 60"],
        capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    assert done.returncode == 3, done.stderr
    summary, events = record_of(tmp_path)
    assert (summary["exit_status"], summary["kind"], summary["written_by"]) == (3, "worker", "core")
    assert (summary["first_failure"]["rank"], summary["first_failure"]["tail"]) == (1, "hi")
    assert summary["cause"].startswith("rank 1 on localhost failed first")
    assert [event["state"] for event in events if event["event"] == "state"] == [
        "connecting", "starting", "running", "ending", "over",
    ]  # fmt: skip
    assert summary["startup"]["slowest"] == "localhost"


@pytest.mark.parametrize(
    ("number", "status", "kind"), [(signal.SIGTERM, 143, "signal"), (signal.SIGKILL, 125, "core")]
)
def test_the_record_of_a_core_that_was_ended(
    tmp_path: Path, number: int, status: int, kind: str
) -> None:
    pid_file = tmp_path / "pid"
    with started(tmp_path, "--pid-file", str(pid_file), "--save_pid") as job:
        saved = tmp_path / "jobs" / "latest" / "pid"
        assert int(pid_file.read_text()) == job.pid
        os.kill(core_of(job.pid), number)
        assert job.wait(PATIENCE) == status
    assert not pid_file.exists()
    assert not saved.exists()
    summary, events = record_of(tmp_path)
    assert (summary["exit_status"], summary["kind"]) == (status, kind)
    assert summary["pids"]["runner"]["guard"] == job.pid
    assert list(summary["pids"]["workers"]) == ["0"]
    assert events[-1]["event"] == "end"


def test_the_record_of_a_guard_that_was_killed(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    with started(tmp_path, "--pid-file", str(pid_file)) as job:
        core = core_of(job.pid)
        second = subprocess.run(
            [MADRUN, "--pid-file", str(pid_file), "--no-python", "true"],
            capture_output=True, text=True, timeout=PATIENCE, check=False,
        )  # fmt: skip
        assert second.returncode == 2
        assert f"held by a job that runs, pid {job.pid}" in second.stderr
        job.kill()
        job.wait(PATIENCE)
        wait_gone(core)
    assert not pid_file.exists()
    summary, _ = record_of(tmp_path)
    assert (summary["exit_status"], summary["kind"], summary["written_by"]) == (
        125,
        "guard",
        "core",
    )
    assert summary["cause"] == "the guard of the runner was killed"


def test_where_no_record_can_be_written_the_job_goes_on(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = subprocess.run(
        [MADRUN, "--job-dir", str(tmp_path / "file"), "--no-python", "sh", "-c", "exit 4"],
        capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    assert done.returncode == 4
    assert done.stderr.count("the record of this job is not complete") == 1
    assert "Not a directory" in done.stderr


def test_json_has_events_and_output_on_stdout_and_nothing_else() -> None:
    script = "echo out; printf 'two\\nlin'; sleep 0.5; printf es; echo err >&2; exit 6"
    done = subprocess.run(
        [MADRUN, "--json", "--no-python", "sh", "-c", script],
        capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    assert done.returncode == 6
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert {event["v"] for event in events} == {1}
    assert (events[0]["event"], events[-1]["event"]) == ("begin", "end")
    output = [event for event in events if event["event"] == "output"]
    texts = [each["text"] for each in output if each["stream"] == "stdout"]
    assert texts == ["out", "two", "lines"]
    assert [each["text"] for each in output if each["stream"] == "stderr"] == ["err"]
    assert {(each["rank"], each["host"]) for each in output} == {(0, "localhost")}
    assert events[-1]["exit_status"] == 6
    assert "rank 0 on localhost failed first" in done.stderr
