"""The line on the terminal while hosts connect."""

from __future__ import annotations

import io
import os
import pty
from collections.abc import Sequence

import pytest

from madrun.output.progress import Progress, progress_line
from support.terminal import read_all


@pytest.mark.parametrize(
    ("hosts", "missing", "refused", "name_them", "line"),
    [
        (3, [], 0, True, "madrun: 3/3 hosts are ready"),
        (3, ["a"], 0, False, "madrun: 2/3 hosts are ready"),
        (3, ["a", "b"], 0, True, "madrun: 1/3 hosts are ready; missing: a, b"),
        (9, list("abcdef"), 0, True, "madrun: 3/9 hosts are ready; missing: a, b, c, d and 2 more"),
        (3, ["c"], 2, True, "madrun: 0/3 hosts are ready, 2 cannot run the job; missing: c"),
    ],
)
def test_progress_line(
    hosts: int, missing: list[str], refused: int, name_them: bool, line: str
) -> None:
    assert progress_line(hosts, missing, refused, name_them) == line


def on_a_terminal(hosts: int, refused: Sequence[tuple[str, str]] = ()) -> bytes:
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "w") as stream:
        progress = Progress(hosts, stream)
        progress.show(["b"])
        progress.show([], refused)
        progress.show([], refused)
        progress.clear()
        progress.clear()
        stream.write("next")
    said = read_all(ours)
    os.close(ours)
    return said


def test_it_is_drawn_in_place_and_taken_away() -> None:
    start = b"\r\x1b[K"
    assert on_a_terminal(2) == (
        start + b"madrun: 1/2 hosts are ready" + 2 * (start + b"madrun: 2/2 hosts are ready")
        + start + b"next"
    )  # fmt: skip


def test_who_cannot_take_part_is_told_once_above_the_line() -> None:
    start, count = b"\r\x1b[K", b"madrun: 1/2 hosts are ready"
    line = count + b", 1 cannot run the job"
    assert on_a_terminal(2, [("b", "connection refused")]) == (
        start + count + start + b"madrun: b: connection refused\r\n" + 2 * (start + line)
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
