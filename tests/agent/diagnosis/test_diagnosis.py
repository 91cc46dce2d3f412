"""The cause of a failure, put together; and that nothing can hold it up."""

from __future__ import annotations

import json
import os
import signal
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from madrun.agent.diagnosis import full_disks
from madrun.agent.diagnosis.diagnosis import Diagnosis, one_line
from madrun.agent.diagnosis.error_files import VARIABLE
from madrun.agent.diagnosis.full_disks import full_places
from madrun.wire.messages import Exited

TRACE = b'Traceback (most recent call last):\n  File "/t.py", line 3\nValueError: bad\n'
NO_SPACE = TRACE.replace(b"ValueError: bad", b"OSError: [Errno 28] No space left on device")
RAISED = "ValueError: bad (/t.py:3)"


@pytest.fixture
def diagnosis(tmp_path: Path) -> Diagnosis:
    """One whose kernel says nothing at all."""
    made = Diagnosis("/w", "", {"TMPDIR": str(tmp_path)}, root=str(tmp_path / "none"))
    made.begin()
    return made


def end(status: int = 1, tail: bytes = b"") -> Exited:
    return Exited(0, 77, status, 0.0, False, tail=tail)


@pytest.mark.parametrize(
    ("status", "tail", "cause"),
    [
        (1, b"", ""),
        (1, TRACE, RAISED),
        (3, TRACE, RAISED),
        (-signal.SIGABRT, TRACE, RAISED),
        (-signal.SIGKILL, TRACE, "out of memory? dmesg tells"),
        (-signal.SIGTERM, TRACE, ""),
        (1, b"CUDA out of memory", "the GPU is out of memory"),
        (-signal.SIGBUS, b"", "a bus error: mostly a full /dev/shm"),
        (1, NO_SPACE, "OSError: [Errno 28] No space left on device (/t.py:3)"),
        (1, TRACE.replace(b"bad", b"\x1b[2J" + b"x" * 999), f"ValueError: [2J{'x' * 222}..."),
    ],
)
def test_causes(diagnosis: Diagnosis, status: int, tail: bytes, cause: str) -> None:
    assert diagnosis.cause(end(status, tail)) == cause


def test_the_error_file_knows_better_than_the_last_lines(diagnosis: Diagnosis) -> None:
    env: dict[str, str] = {}
    diagnosis.prepare(env, 0)
    stack = TRACE.decode().replace("bad", "worse")
    info = {"message": "ValueError: worse\nmore", "extraInfo": {"py_callstack": stack}}
    Path(env[VARIABLE]).write_text(json.dumps({"message": info}))
    assert diagnosis.cause(end(1, TRACE)) == "ValueError: worse (/t.py:3)"
    info["extraInfo"] = {}
    Path(env[VARIABLE]).write_text(json.dumps({"message": info}))
    assert diagnosis.cause(end(1)) == "ValueError: worse"
    diagnosis.close()
    assert not Path(env[VARIABLE]).parent.exists()


def test_a_full_file_system_is_named(
    diagnosis: Diagnosis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = {"/w": (0, 9, 9), str(tmp_path): (500, 9, 9)}

    def statvfs(path: str) -> object:
        free, files, files_free = full.get(path, (500, 9, 9))
        return SimpleNamespace(
            f_blocks=1000, f_bavail=free, f_frsize=1 << 20, f_files=files, f_favail=files_free
        )

    places = iter(range(100))
    fake = SimpleNamespace(statvfs=statvfs, stat=lambda _: SimpleNamespace(st_dev=next(places)))
    monkeypatch.setattr(full_disks, "os", fake)
    raised = "OSError: [Errno 28] No space left on device (/t.py:3)"
    assert diagnosis.cause(end(1, NO_SPACE)) == f"{raised}; no space left on /w (1000 MiB)"
    named = NO_SPACE.replace(b"device", b"device: '/data/x'")
    full.update({"/w": (500, 9, 9), "/data": (500, 9, 0)})
    assert diagnosis.cause(end(1, named)).endswith("; no space left on /data (no inodes)")
    full.update({"/data": (500, 0, 0)})
    assert list(full_places(["/data", "/w"])) == []


def test_a_folder_that_is_not_there_is_not_full() -> None:
    assert list(full_places(["/no/such/folder", "", "/", "/"])) in ([], ["/"])


def test_nothing_holds_it_up(diagnosis: Diagnosis, monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()

    def hang(_path: object) -> None:
        release.wait()
        raise OSError

    monkeypatch.setattr(os, "statvfs", hang)
    try:
        assert diagnosis.cause(end(1, NO_SPACE), limit=0.5).startswith("OSError: [Errno 28]")
        assert diagnosis.cause(end(1, TRACE)) == ""  # the first one hangs still
        diagnosis.close()
    finally:
        release.set()


def test_a_mistake_of_ours_is_said_and_raises_nothing(
    diagnosis: Diagnosis, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_folders: object) -> None:
        raise ZeroDivisionError("ours")

    monkeypatch.setattr(full_disks, "full_places", broken)
    assert diagnosis.cause(end(1, NO_SPACE)).endswith(
        "; (madrun could not find out more: ZeroDivisionError('ours'))"
    )


def test_before_the_workers_run_there_is_no_kernel_to_ask(tmp_path: Path) -> None:
    diagnosis = Diagnosis("/w", "/log", {"TMPDIR": str(tmp_path)})
    assert diagnosis.cause(end(1, TRACE)) == RAISED
    diagnosis.preload()
    diagnosis.close()
    assert os.listdir(tmp_path) == []


def test_one_line() -> None:
    assert one_line("a\r\nb\0\u202ec") == "a b c"
