"""A traceback that the terminal shows already is not printed again; elsewhere the report has it."""

from __future__ import annotations

import json
from pathlib import Path

from support.here import madrun
from support.terminal import on_a_terminal

FAILS = ("--nproc-per-node", "1", "fails.py")


def program(folder: Path, after: str = "") -> tuple[str, ...]:
    (folder / "fails.py").write_text(f"{after}\nraise ValueError('wrong shape')\n")
    return ("--job-dir", str(folder), "--workdir", str(folder), *FAILS)


def test_on_a_terminal_it_is_there_once_and_in_the_record_as_well(tmp_path: Path) -> None:
    status, seen = on_a_terminal(*program(tmp_path))
    assert status == 1
    assert seen.count("Traceback") == 1
    assert "    its last lines: see above" in seen
    summary = json.loads((tmp_path / "latest" / "summary.json").read_text())
    assert "Traceback" in summary["report"]


def test_what_was_not_shown_is_in_the_report(tmp_path: Path) -> None:
    _, seen = on_a_terminal("--output", "none", *program(tmp_path))
    assert seen.count("Traceback") == 1
    assert "its last lines:\n" in seen


def test_in_a_pipe_the_report_is_whole(tmp_path: Path) -> None:
    assert madrun(*program(tmp_path)).stderr.count("Traceback") == 2
