"""The line that says what was decided, and the one that says how it ended."""

from __future__ import annotations

import re
from pathlib import Path

from support.here import madrun
from support.terminal import on_a_terminal

JOB = r"madrun: job \d{8}-\d{6}-[0-9a-f]{6}"


def own_words(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("madrun: ") and "GPU" not in line]


def test_on_a_terminal_the_first_and_the_last_line_are_of_the_job(tmp_path: Path) -> None:
    words = ("--job-dir", tmp_path, "--hosts", "localhost:2", "--no-python", "echo", "hello")
    status, seen = on_a_terminal(*words)
    assert status == 0
    lines = seen.splitlines()
    logs = re.escape(f"{tmp_path}/") + r"\S+/logs"
    start = rf"{JOB}: 2 processes on localhost, launcher native, backend local, logs in {logs}"
    assert re.fullmatch(start, lines[0])
    assert re.fullmatch(rf"{JOB} ended well after \d+\.\d s, logs in {logs}", lines[-1])
    assert len(lines) == 4


def test_the_last_thing_of_a_failed_job_is_its_cause() -> None:
    words = ("--hosts", "localhost:1", "--log-dir", "none", "--no-python", "sh", "-c", "exit 7")
    status, seen = on_a_terminal(*words)
    assert status == 7
    start, end, cause = own_words(seen)
    assert start.endswith("no log files")
    assert re.fullmatch(rf"{JOB} ended with status 7 after \d+\.\d s", end)
    assert cause == "madrun: rank 0 on localhost failed first: exited with status 7"


def test_a_script_hears_nothing_of_it_unless_it_asks() -> None:
    words = ("--hosts", "localhost:1", "--no-python", "true")
    assert own_words(madrun(*words).stderr) == []
    asked = own_words(madrun("-v", *words).stderr)
    assert re.match(f"{JOB}: 1 process on localhost", asked[1])
    assert re.match(f"{JOB} ended well", asked[-1])


def test_quiet_means_that_only_the_workers_are_heard() -> None:
    words = ("--color", "never", "--hosts", "localhost:1", "--no-python", "echo", "hello")
    assert on_a_terminal("-q", *words) == (0, "[localhost:0] hello\n")


def test_a_failure_is_told_quietly_or_not() -> None:
    status, seen = on_a_terminal("-q", "--hosts", "localhost:1", "--no-python", "false")
    assert status == 1
    assert seen.startswith("madrun: rank 0 on localhost failed first: exited with status 1\n")


def test_events_are_for_programs() -> None:
    _, seen = on_a_terminal("--json", "--hosts", "localhost:1", "--no-python", "true")
    assert own_words(seen) == []
