"""Private folders, and that they go with those who made them."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from madrun.system.private_folder import make_folder, parent_folder, remove_folder
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


def test_what_a_worker_has_put_there_goes_with_it(tmp_path: Path) -> None:
    folder = Path(make_folder(str(tmp_path / "..")))
    (folder / "a" / "b").mkdir(parents=True)
    (folder / "a" / "b" / "file").touch()
    (folder / "link").symlink_to("/etc")
    os.mkfifo(folder / "fifo")
    remove_folder(str(folder))
    assert not folder.exists()


def test_no_link_is_followed(tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    (theirs / "deep").mkdir(parents=True, mode=0o700)
    theirs.chmod(0o700)
    (theirs / "model.pt").touch()
    (theirs / "deep" / "optimizer.pt").touch()
    (tmp_path / "link").symlink_to(theirs)
    folder = Path(make_folder(str(tmp_path)))
    (folder / "link").symlink_to(theirs)
    remove_folder(str(tmp_path / "link"))
    remove_folder(str(folder))
    assert sorted(path.name for path in theirs.rglob("*")) == ["deep", "model.pt", "optimizer.pt"]
    assert not folder.exists()


def test_a_folder_that_others_may_enter_is_none_of_ours(tmp_path: Path) -> None:
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(0o750)
    (folder / "file").touch()
    remove_folder(str(folder))
    assert (folder / "file").exists()


def test_the_guard_removes_it(tmp_path: Path) -> None:
    assert status_of(KILLED, env={**os.environ, "TMPDIR": str(tmp_path)}) == 125
    assert os.listdir(tmp_path) == []


def test_the_guard_touches_no_folder_that_only_looks_like_one(tmp_path: Path) -> None:
    """Another user can name a link after the process ids of a job, which everybody can see."""
    theirs = tmp_path / "theirs"
    theirs.mkdir(0o700)
    (theirs / "model.pt").touch()
    plant = (
        f"os.symlink({str(theirs)!r}, folder + '/../madrun-%d-%d-x' % (os.getppid(), os.getpid()))"
    )
    script = KILLED.replace("    os.kill", f"    {plant}\n    os.kill")
    assert status_of(script, env={**os.environ, "TMPDIR": str(tmp_path)}) == 125
    assert (theirs / "model.pt").exists()


def test_where() -> None:
    assert (parent_folder({}), parent_folder({"TMPDIR": "/x"})) == ("/tmp", "/x")
