"""Megatron-DeepSpeed #125, #126: ``cd`` failed on a blank, and the job ran in $HOME."""

from __future__ import annotations

from pathlib import Path

from support.here import madrun, shown


def test_a_folder_with_a_blank(tmp_path: Path) -> None:
    folder = tmp_path / "with blank"
    folder.mkdir()
    assert shown("--workdir", folder, "--no-python", "pwd", env={"PWD": ""}) == [str(folder)]


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    done = madrun("--workdir", tmp_path / "no such", "--no-python", "echo", "started")
    assert (done.returncode, done.stdout) == (125, "")
    assert f"localhost  working directory {tmp_path}/no such is not there" in done.stderr
