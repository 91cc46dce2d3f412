"""The line on the terminal while hosts connect."""

from __future__ import annotations

import io
import os
import pty

import pytest

from madrun.output.progress import Progress, progress_line


@pytest.mark.parametrize(
    ("hosts", "missing", "name_them", "line"),
    [
        (3, [], True, "madrun: 3/3 hosts are ready"),
        (3, ["a"], False, "madrun: 2/3 hosts are ready"),
        (3, ["a", "b"], True, "madrun: 1/3 hosts are ready; missing: a, b"),
        (9, list("abcdef"), True, "madrun: 3/9 hosts are ready; missing: a, b, c, d and 2 more"),
    ],
)
def test_progress_line(hosts: int, missing: list[str], name_them: bool, line: str) -> None:
    assert progress_line(hosts, missing, name_them) == line


def on_a_terminal(hosts: int) -> bytes:
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "w") as stream:
        progress = Progress(hosts, stream)
        progress.show(["b"])
        progress.show([])
        progress.clear()
        progress.clear()
        stream.write("next")
    said = os.read(ours, 1000)
    os.close(ours)
    return said


def test_it_is_drawn_in_place_and_taken_away() -> None:
    start = b"\r\x1b[K"
    assert on_a_terminal(2) == (
        start + b"madrun: 1/2 hosts are ready" + start + b"madrun: 2/2 hosts are ready"
        + start + b"next"
    )  # fmt: skip


def test_one_host_needs_no_progress() -> None:
    assert on_a_terminal(1) == b"next"


def test_nothing_where_nobody_looks() -> None:
    stream = io.StringIO()
    progress = Progress(5, stream)
    progress.show(["a"])
    progress.clear()
    assert stream.getvalue() == ""


def test_a_terminal_that_hangs_up_stops_nothing() -> None:
    ours, theirs = pty.openpty()
    stream = os.fdopen(theirs, "w")
    progress = Progress(2, stream)
    os.close(ours)
    progress.show(["a"])
    progress.show([])
    progress.clear()
    with pytest.raises(OSError, match="Input/output"):
        stream.close()
