"""Private folders, and that they go with those who made them."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from madrun.system.private_folder import make_folder, parent_folder, remove_folder, remove_left
from support.programs import status_of

KILLED = """
import os, signal
from madrun.system.guard import run_guarded
from madrun.system.private_folder import make_folder, parent_folder
def core(fd):
    folder = make_folder(parent_folder(os.environ))
    open(folder + "/rank0000.json", "w").close()
    os.kill(os.getpid(), signal.SIGKILL)
run_guarded(core, "test")
"""


def test_private_and_removed(tmp_path: Path) -> None:
    folder = make_folder(str(tmp_path))
    assert stat.S_IMODE(os.stat(folder).st_mode) == 0o700
    Path(folder, "file").touch()
    remove_folder(folder)
    remove_folder(folder)
    assert os.listdir(tmp_path) == []


def test_no_place() -> None:
    assert make_folder("/no/such/folder") == ""
    remove_left("/no/such/folder", 1, 2)


def test_only_what_the_killed_one_left(tmp_path: Path) -> None:
    mine = make_folder(str(tmp_path))
    remove_left(str(tmp_path), os.getppid(), os.getpid() + 1)
    assert os.path.isdir(mine)
    remove_left(str(tmp_path), os.getppid(), os.getpid())
    assert os.listdir(tmp_path) == []


def test_the_guard_removes_it(tmp_path: Path) -> None:
    assert status_of(KILLED, env={**os.environ, "TMPDIR": str(tmp_path)}) == 125
    assert os.listdir(tmp_path) == []


def test_where() -> None:
    assert (parent_folder({}), parent_folder({"TMPDIR": "/x"})) == ("/tmp", "/x")
