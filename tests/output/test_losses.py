"""What a reader, a disk or a terminal does not take is counted and said, with the true reason."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from support.here import MADRUN, environment
from support.programs import PATIENCE

LINES = 1_000_000


def summary(job_dir: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((job_dir / "latest" / "summary.json").read_text())
    return content


def dropped_events(job_dir: Path) -> list[dict[str, Any]]:
    events = map(json.loads, (job_dir / "latest" / "events.jsonl").read_text().splitlines())
    return [each for each in events if each["event"] == "dropped"]


def madrun(*words: str | Path, job_dir: Path, **options: Any) -> subprocess.Popen[bytes]:
    """A madrun of one rank whose streams are ours to break."""
    command = [MADRUN, "--job-dir", job_dir, "--hosts", "localhost:1", *words]
    return subprocess.Popen(command, env=environment(), stdin=subprocess.DEVNULL, **options)


@pytest.mark.slow
def test_a_reader_that_sleeps_gets_a_part_and_the_rest_is_counted(tmp_path: Path) -> None:
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with madrun("--no-python", "seq", str(LINES), job_dir=tmp_path, **pipes) as job:
        assert job.stdout is not None
        assert job.stderr is not None
        said = job.stderr.read().decode()  # until the job is over: nobody reads its stdout
        shown = job.stdout.read().count(b"\n")
        assert job.wait(PATIENCE) == 0
    counts = [int(line.split()[1]) for line in said.splitlines() if "not shown" in line]
    assert shown > 0
    assert shown + sum(counts) == LINES, said
    assert summary(tmp_path)["dropped_lines"] == sum(counts)


def test_a_full_disk_is_said_and_recorded_and_the_status_is_the_jobs(tmp_path: Path) -> None:
    with open("/dev/full", "wb") as full:
        job = madrun(
            *("--no-python", "sh", "-c", "echo one; echo two; exit 3"),
            job_dir=tmp_path, stdout=full, stderr=subprocess.PIPE,
        )  # fmt: skip
    _, said = job.communicate(timeout=PATIENCE)
    assert job.returncode == 3
    assert b"madrun: stdout: No space left on device; the job goes on" in said
    assert b"madrun: 2 lines of stdout were not shown: No space left on device" in said
    assert [
        (each["stream"], each["lines"], each["reason"]) for each in dropped_events(tmp_path)
    ] == [("stdout", 2, "No space left on device")]


def test_a_broken_stderr_is_in_the_record(tmp_path: Path) -> None:
    with open("/dev/full", "wb") as full:
        job = madrun(
            *("--no-python", "sh", "-c", "echo one >&2; echo two"),
            job_dir=tmp_path, stdout=subprocess.PIPE, stderr=full,
        )  # fmt: skip
    out, _ = job.communicate(timeout=PATIENCE)
    assert (job.returncode, out) == (0, b"[localhost:0] two\n")
    (event,) = dropped_events(tmp_path)
    assert (event["stream"], event["reason"]) == ("stderr", "No space left on device")


@pytest.mark.slow
def test_a_reader_that_leaves_is_not_called_slow(tmp_path: Path) -> None:
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with madrun("--no-python", "seq", str(LINES), job_dir=tmp_path, **pipes) as job:
        assert job.stdout is not None
        assert job.stderr is not None
        with subprocess.Popen(["head", "-2"], stdin=job.stdout, stdout=subprocess.PIPE) as head:
            job.stdout.close()
            assert head.communicate(timeout=PATIENCE)[0] == b"[localhost:0] 1\n[localhost:0] 2\n"
        said = [line for line in job.stderr.read().decode().splitlines() if "GPU" not in line]
        assert job.wait(PATIENCE) == 0
    assert said == [
        "madrun: stdout: its reader has left; the job goes on, what it writes there is lost"
    ]
    assert dropped_events(tmp_path)[-1]["reason"] == "its reader has left"


def test_a_line_of_5_mb_is_cut_in_words_and_what_follows_is_shown(tmp_path: Path) -> None:
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    script = "print('x' * 5_000_000); print('after')"
    words = ("--no-python", sys.executable, "-c", script)
    with madrun(*words, job_dir=tmp_path, **pipes) as job:
        out, said = job.communicate(timeout=PATIENCE)
        assert job.returncode == 0
    long, after = out.decode().splitlines()
    assert long.startswith("[localhost:0] xxx")
    assert long.endswith("x [... the rest of this line is not shown: it is longer than 256 KiB]")
    assert after == "[localhost:0] after"
    assert b"not shown" not in said


def test_a_disk_that_has_room_again_gets_whole_lines(tmp_path: Path) -> None:
    """A write that was torn by a full disk: the next line is one of its own."""
    script = """
import os, sys
import queue, resource, signal
from madrun.output.writer import Writer
path = sys.argv[1]
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
fd = os.open(path, os.O_WRONLY | os.O_CREAT)
limit = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
resource.setrlimit(resource.RLIMIT_FSIZE, (100, limit))
broken, steps = [], queue.SimpleQueue()
writer = Writer(fd, broken.append)
writer.put(b"x" * 60 + b"\\n")
writer.put(b"y" * 60 + b"\\nlost\\n", lambda: steps.put(1))
steps.get()
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
writer.put(b"whole\\n")
print(writer.close(30), broken)
"""
    path = str(tmp_path / "out")
    done = subprocess.run(
        [sys.executable, "-c", script, path],
        capture_output=True, text=True, check=True, timeout=PATIENCE,
    )  # fmt: skip
    assert Path(path).read_text().splitlines() == ["x" * 60, "y" * 39, "whole"]
    assert done.stdout == "2 ['File too large']\n"
