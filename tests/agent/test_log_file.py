"""Log files that are slow, full, or taken by nobody."""

from __future__ import annotations

import os
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
