"""Log files beyond their limit, of real jobs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from support.here import Words, madrun, refused

COUNT = 100_000
TEXT = "".join(f"{number}\n" for number in range(1, COUNT + 1))


def job(folder: Path, *words: Words, **env: str) -> tuple[str, Path]:
    """Run one rank that writes much more than 100 KB; what madrun says, and the log folder."""
    done = madrun(
        "--job-dir", folder, "--hosts", "localhost:1", "--output", "none", *words, env=env
    )
    return done.stderr, folder / "latest" / "logs"


@pytest.mark.parametrize("typed", [True, False])
def test_a_rank_that_writes_too_much_keeps_both_ends_and_is_told_of(
    tmp_path: Path, typed: bool
) -> None:
    words = ("--log-limit", "100KB") if typed else ()
    env = {"MADRUN_LOG_LIMIT": "1TB" if typed else "100kb"}
    said, logs = job(tmp_path, *words, "--no-python", "seq", str(COUNT), **env)
    begin, note, end = re.split(r"\n(\[madrun: .*\])\n", (logs / "rank0000.out").read_text())
    count = len(TEXT) - len(begin) - len(end)
    assert (TEXT.startswith(begin), TEXT.endswith(end)) == (True, True)
    assert min(len(begin), len(end)) > 25_000
    assert f"{count} bytes (" in note
    assert f"rank0000.out: {count} bytes in its middle are left out (--log-limit)" in said
    assert sorted(each.name for each in logs.iterdir()) == ["rank0000.err", "rank0000.out"]


@pytest.mark.parametrize("limit", ["none", "1MB", "1.5 GB"])
def test_within_the_limit_nothing_is_missing(tmp_path: Path, limit: str) -> None:
    said, logs = job(tmp_path, "--log-limit", limit, "--no-python", "seq", str(COUNT))
    assert (logs / "rank0000.out").read_text() == TEXT
    assert "left out" not in said


def test_both_ends_survive_a_killed_agent(tmp_path: Path) -> None:
    end = tmp_path / "latest" / "logs" / "rank0000.out.end"
    kill = f"seq {COUNT}; until grep -qx {COUNT} {end}; do sleep 0.01; done; kill -9 $PPID"
    _, logs = job(tmp_path, "--log-limit", "100KB", "--no-python", "sh", "-c", kill)
    begin, _, note = (logs / "rank0000.out").read_text().partition("\n[madrun: ")
    kept = (logs / "rank0000.out.end-before").read_text() + end.read_text()
    assert (TEXT.startswith(begin), TEXT.endswith(kept)) == (True, True)
    assert min(len(begin), len(kept)) > 25_000
    assert "rank0000.out.end-before and rank0000.out.end]" in note


@pytest.mark.parametrize("text", ["x", "0", "-1", "50", "999", "0.5KB", "2XB", "all", "1MB,2MB"])
def test_a_limit_that_is_none_is_refused(text: str) -> None:
    assert f"--log-limit: {text!r}" in refused("--log-limit", text)
    assert f"MADRUN_LOG_LIMIT: {text!r}" in refused(env={"MADRUN_LOG_LIMIT": text})
