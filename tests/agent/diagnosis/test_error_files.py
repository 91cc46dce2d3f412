"""The files of torch's @record, and what is made of them."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from madrun.agent.diagnosis.error_files import VARIABLE, ErrorFiles

STACK = "Traceback ..."


def offered(files: ErrorFiles, rank: int = 3) -> Path:
    env: dict[str, str] = {}
    files.offer(env, rank)
    return Path(env[VARIABLE])


def test_private_one_per_rank_and_removed(tmp_path: Path) -> None:
    files = ErrorFiles(str(tmp_path))
    path = offered(files)
    assert path != offered(files, 4)
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert files.read(3) == ("", "")
    path.write_text("x")
    files.remove()
    assert os.listdir(tmp_path) == []
    files.remove()


def test_what_the_user_set_stays(tmp_path: Path) -> None:
    env = {VARIABLE: "/mine"}
    files = ErrorFiles(str(tmp_path))
    files.offer(env, 0)
    assert env == {VARIABLE: "/mine"}


def test_no_place_no_file(tmp_path: Path) -> None:
    env: dict[str, str] = {}
    files = ErrorFiles(str(tmp_path / "none"))
    files.offer(env, 0)
    assert (env, files.read(0)) == ({}, ("", ""))
    files.remove()


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"message": {"message": "ValueError: x", "extraInfo": {"py_callstack": STACK}}},
         ("ValueError: x", STACK)),
        ({"message": {"message": "ValueError: x"}}, ("ValueError: x", "")),
        ({"message": "an old form"}, ("an old form", "")),
        ({"message": {"message": 7, "extraInfo": {"py_callstack": None}}}, ("7", "None")),
        ({"message": []}, ("", "")),
        ({"message": {"message": "x", "extraInfo": []}}, ("", "")),
        ([], ("", "")),
        (None, ("", "")),
        ({}, ("", "")),
    ],
)  # fmt: skip
def test_content(tmp_path: Path, content: object, expected: tuple[str, str]) -> None:
    files = ErrorFiles(str(tmp_path))
    offered(files).write_text(json.dumps(content))
    assert files.read(3) == expected


@pytest.mark.parametrize("data", [b"", b"{", b"\xff", b"[" * 100_000, b" " * (1 << 21)])
def test_nonsense(tmp_path: Path, data: bytes) -> None:
    files = ErrorFiles(str(tmp_path))
    offered(files).write_bytes(data)
    assert files.read(3) == ("", "")


def test_neither_links_nor_pipes_nor_folders(tmp_path: Path) -> None:
    files = ErrorFiles(str(tmp_path))
    (tmp_path / "other").write_text('{"message": "secret"}')
    offered(files, 1).symlink_to(tmp_path / "other")
    os.mkfifo(offered(files, 2))
    offered(files, 3).mkdir()
    assert [files.read(rank) for rank in (1, 2, 3)] == [("", "")] * 3
