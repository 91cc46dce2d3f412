"""What a command writes itself meets a full disk, a reader that leaves, a folder that is gone."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import IO

import pytest

from support.cluster import BIN
from support.here import environment
from support.programs import PATIENCE

DRY = ("madrun", "--dry-run", "--hosts", "localhost:1", "--no-python", "true")


@pytest.mark.parametrize("command", [DRY, ("madrun", "--help"), ("madagent", "--version")])
def test_a_full_disk_is_one_line(command: tuple[str, ...]) -> None:
    with open("/dev/full", "wb") as full:
        done = run(command, stdout=full)
    assert (done.returncode, done.stderr) == (
        125, f"{command[0]}: stdout: No space left on device\n",
    )  # fmt: skip


@pytest.mark.parametrize("command", [DRY, ("madrun", "--help"), ("madagent", "--version")])
def test_a_reader_that_has_left_hears_no_more(command: tuple[str, ...]) -> None:
    words = [BIN / command[0], *command[1:]]
    gone = 'exec 3> >(true); wait $!; "$@" >&3'
    done = run(("bash", "-c", gone, "bash", *map(str, words)))
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.parametrize("name", ["madrun", "madagent"])
def test_a_working_folder_that_is_gone_is_one_line(name: str, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    done = run(
        ("sh", "-c", 'rmdir "$PWD"; exec "$@"', "sh", str(BIN / name), *DRY[2:]), cwd=str(gone)
    )
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == (
        f"{name}: this working folder is gone (No such file or directory): cd to another"
    )
    assert "Traceback" not in done.stderr


def run(
    command: tuple[str, ...], stdout: IO[bytes] | int = subprocess.PIPE, cwd: str | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command; ours are named without their folder."""
    words = [BIN / command[0] if command[0] in ("madrun", "madagent") else command[0], *command[1:]]
    return subprocess.run(
        words, env=environment(), stdin=subprocess.DEVNULL, stdout=stdout,
        stderr=subprocess.PIPE, text=True, timeout=PATIENCE, cwd=cwd, check=False,
    )  # fmt: skip
