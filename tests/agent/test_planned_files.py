"""The private folder of a plan: there while the job runs, and nobody else's."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

import pytest

from madrun.agent.planned_files import PlannedFiles
from madrun.launchers.plan import FILES, NodePlan, PlannedFile, ProcessPlan


def plan_of(*argv: str, files: tuple[PlannedFile, ...] = ()) -> NodePlan:
    process = ProcessPlan("x", 0, 0, argv, {"A": f"{FILES}/a", "B": "b"}, "/")
    return NodePlan("host", 0, (process,), files)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_files_are_there_private_and_gone_at_the_end(folder: Path) -> None:
    plan = plan_of("x", f"--file={FILES}/hosts", files=(PlannedFile("hosts", "a\udcff\n"),))
    files = PlannedFiles(plan)
    process = files.filled(plan).processes[0]
    path = Path(process.argv[1].removeprefix("--file="))
    assert path.parent.parent == folder
    assert path.read_bytes() == b"a\xff\n"
    modes = [stat.S_IMODE(os.stat(each).st_mode) for each in (path, path.parent)]
    assert modes == [0o600, 0o700]
    assert process.env == {"A": f"{path.parent}/a", "B": "b"}
    (path.parent / "session").mkdir()
    files.remove()
    files.remove()
    assert not list(folder.iterdir())


def test_a_folder_alone_where_only_the_folder_is_asked_for(folder: Path) -> None:
    files = PlannedFiles(plan_of("x"))
    assert len(list(folder.iterdir())) == 1
    files.remove()


def test_none_where_none_is_asked_for(folder: Path) -> None:
    process = ProcessPlan("x", 0, 0, ("x",), {}, "/")
    plan = NodePlan("host", 0, (process,))
    assert PlannedFiles(plan).filled(plan) is plan
    assert not list(folder.iterdir())
