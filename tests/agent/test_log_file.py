"""Log files that are slow, full, or taken by nobody."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from madrun.agent.log_file import LogFile

PIECE = b"x" * 64 * 1024


@pytest.fixture
def fifo(tmp_path: Path) -> Iterator[tuple[str, int]]:
    """A pipe with a name, and its read end, which the test reads or not."""
    path = tmp_path / "rank0000.out"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        yield str(path), reader
    finally:
        os.close(reader)  # the writer, where it still waits, gets EPIPE


def everything_in(fd: int) -> int:
    """Read to the end; how much it was."""
    os.set_blocking(fd, True)
    size = 0
    while data := os.read(fd, 1 << 20):
        size += len(data)
    return size


def test_what_a_hung_file_does_not_take_is_counted_and_said(fifo: tuple[str, int]) -> None:
    path, reader = fifo
    log = LogFile(path)
    for _ in range(40):
        log.put(PIECE)
    problem = log.problem
    log.close()
    assert problem.startswith(f"{path} is incomplete: ")
    # The writer counts a piece when all of it was taken: of the last one a part was.
    assert int(problem.split()[3]) + everything_in(reader) >= 40 * len(PIECE)


def test_what_a_slow_file_takes_in_the_end_is_complete(fifo: tuple[str, int]) -> None:
    path, reader = fifo
    log = LogFile(path)
    for _ in range(15):  # less than may wait, more than the pipe holds
        log.put(PIECE)
    os.set_blocking(reader, True)
    size = 0
    while size < 15 * len(PIECE):
        size += len(os.read(reader, 1 << 20))
    assert log.problem == ""
    log.close()
    assert everything_in(reader) == 0


def test_a_pipe_that_nobody_reads_is_no_log_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "log")
    with pytest.raises(OSError, match="No such device"):
        LogFile(str(tmp_path / "log"))


LIMIT = 100_000
LEFT_OUT = re.compile(
    rb"(.*)\n\[madrun: (\d+) bytes \((\d+) lines\) are left out here: [^\n]*\]\n(.*)", re.DOTALL
)


def written(path: Path, text: bytes, step: int = 999, limit: int = LIMIT) -> str:
    """Write a log file in steps; its problem, when all is written."""
    log = LogFile(str(path), limit)
    for at in range(0, len(text), step):
        log.put(text[at : at + step])
    problem = log.problem
    log.close()
    return problem


def numbered(size: int) -> bytes:
    return b"".join(b"line %06d\n" % number for number in range(size // 12 + 1))[:size]


@pytest.mark.parametrize("size", [0, 1, LIMIT // 2, LIMIT // 2 + 1, LIMIT * 3 // 4 + 1, LIMIT])
def test_a_file_within_its_limit_is_what_was_written(tmp_path: Path, size: int) -> None:
    path = tmp_path / "rank0000.out"
    assert written(path, numbered(size)) == ""
    assert path.read_bytes() == numbered(size)
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize("size", [LIMIT + 1, LIMIT + 25_000, 10 * LIMIT, 10 * LIMIT + 1])
@pytest.mark.parametrize("step", [999, 64 * 1024, 200_000])
def test_beyond_its_limit_a_file_keeps_both_ends_and_counts_what_is_missing(
    tmp_path: Path, size: int, step: int
) -> None:
    path, text = tmp_path / "rank0000.out", numbered(size)
    problem = written(path, text, step)
    found = LEFT_OUT.fullmatch(path.read_bytes())
    assert found is not None
    begin, count, lines, end = found.groups()
    assert (text.startswith(begin), text.endswith(end)) == (True, True)
    assert len(begin) + int(count) + len(end) == size
    assert int(lines) == text[len(begin) : size - len(end)].count(b"\n")
    assert len(begin) == LIMIT // 2
    assert LIMIT // 4 < len(end) <= LIMIT // 2
    assert problem == f"{path}: {int(count)} bytes in its middle are left out (--log-limit)"
    assert os.listdir(tmp_path) == [path.name]


def test_both_ends_are_on_the_disk_while_it_is_written(tmp_path: Path) -> None:
    path, text = tmp_path / "rank0000.out", numbered(10 * LIMIT)
    log = LogFile(str(path), LIMIT)
    log.put(text)
    assert log.problem, "all is written"
    files = {each.name: each.read_bytes() for each in tmp_path.iterdir()}  # as after a SIGKILL
    log.close()
    begin, _, said = files["rank0000.out"].partition(b"\n[madrun: ")
    end = files["rank0000.out.end-before"] + files["rank0000.out.end"]
    assert text.startswith(begin)
    assert text.endswith(end)
    assert min(len(begin), len(end)) > LIMIT // 4
    assert b"what follows is in rank0000.out.end-before and rank0000.out.end]" in said
    assert sum(map(len, files.values())) <= LIMIT + 200


def test_the_end_of_an_earlier_jobs_file_goes_with_it(tmp_path: Path) -> None:
    for name in ("rank0000.out", "rank0000.out.end", "rank0000.out.end-before"):
        (tmp_path / name).write_text("of a job that was killed")
    assert written(tmp_path / "rank0000.out", b"new") == ""
    assert [each.read_text() for each in tmp_path.iterdir()] == ["new"]


def test_without_a_limit_all_is_kept(tmp_path: Path) -> None:
    assert written(tmp_path / "log", numbered(10 * LIMIT), limit=0) == ""
    assert (tmp_path / "log").read_bytes() == numbered(10 * LIMIT)


def test_a_pipe_has_no_limit(fifo: tuple[str, int]) -> None:
    path, reader = fifo
    log = LogFile(path, 1000)
    log.put(b"x" * 5000)
    assert log.problem == ""
    log.close()
    assert everything_in(reader) == 5000
