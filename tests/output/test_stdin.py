"""Reading the user's stdin: who gets it, and how much is under way."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from madrun.output.stdin import PIECE, WINDOW, StdinForwarder, input_ranks
from madrun.system.errors import InputError
from madrun.system.loop import Loop


@pytest.mark.parametrize(
    ("text", "ranks"), [("none", set()), ("all", {0, 1, 2, 3}), ("0", {0}), ("3", {3})]
)
def test_who_reads(text: str, ranks: set[int]) -> None:
    assert input_ranks(text, 4) == ranks


@pytest.mark.parametrize("text", ["", "4", "-1", "0,1", "first", "1 ", "²", "9" * 5000, "None"])
def test_mistakes(text: str) -> None:
    with pytest.raises(InputError, match="--stdin"):
        input_ranks(text, 4)


class Fed:
    """A feed from a descriptor to some ranks; what each was sent."""

    def __init__(self, loop: Loop, fd: int, ranks: set[int]) -> None:
        self.loop = loop
        self.got: dict[int, list[bytes]] = {rank: [] for rank in ranks}
        self.feed = StdinForwarder(loop, ranks, lambda rank, data: self.got[rank].append(data), fd)

    def turn(self) -> None:
        """Everything that can be done now."""
        self.loop.call_later(0.02, self.loop.stop)
        self.loop.run()

    def size(self, rank: int) -> int:
        return sum(map(len, self.got[rank]))


@pytest.fixture
def loop() -> Iterator[Loop]:
    made = Loop()
    yield made
    made.close()


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    read, write = os.pipe2(os.O_NONBLOCK)
    yield read, write
    os.close(read)
    try:
        os.close(write)
    except OSError:
        return


@pytest.fixture
def file(tmp_path: Path) -> Iterator[int]:
    (tmp_path / "input").write_bytes(os.urandom(10 * WINDOW))
    fd = os.open(tmp_path / "input", os.O_RDONLY)
    yield fd
    os.close(fd)


def test_nothing_is_read_before_the_start(loop: Loop, pipe: tuple[int, int]) -> None:
    fed = Fed(loop, pipe[0], {0})
    os.write(pipe[1], b"early")
    fed.turn()
    assert fed.got == {0: []}
    fed.feed.start()
    fed.feed.start()
    fed.turn()
    assert fed.got == {0: [b"early"]}
    fed.feed.stop()


def test_the_end_is_told_once_and_nothing_is_watched_after_it(
    loop: Loop, pipe: tuple[int, int]
) -> None:
    fed = Fed(loop, pipe[0], {0, 2})
    fed.feed.start()
    os.write(pipe[1], b"x")
    fed.turn()
    os.close(pipe[1])
    for rank in (0, 2):
        fed.feed.taken(rank, 1)
    fed.turn()
    fed.feed.taken(0, 1)
    fed.turn()
    assert fed.got == {0: [b"x", b""], 2: [b"x", b""]}


def test_a_file_is_read_only_while_there_is_room(loop: Loop, file: int) -> None:
    fed = Fed(loop, file, {0})
    fed.feed.start()
    fed.turn()
    assert fed.size(0) == WINDOW
    fed.turn()
    fed.feed.taken(0, PIECE)
    fed.turn()
    assert fed.size(0) == os.lseek(file, 0, os.SEEK_CUR) == WINDOW + PIECE
    while fed.got[0][-1]:
        fed.feed.taken(0, WINDOW)
        fed.turn()
    assert fed.size(0) == 10 * WINDOW


def test_the_slowest_of_several_sets_the_pace(loop: Loop, file: int) -> None:
    fed = Fed(loop, file, {0, 1})
    fed.feed.start()
    fed.turn()
    assert (fed.size(0), fed.size(1)) == (PIECE, PIECE)
    fed.feed.taken(0, PIECE)
    fed.turn()
    assert (fed.size(0), fed.size(1)) == (PIECE, PIECE)
    fed.feed.taken(1, 0)  # and who reads no more holds up nobody
    fed.turn()
    assert (fed.size(0), fed.size(1)) == (2 * PIECE, PIECE)


def test_when_nobody_reads_any_more_the_rest_stays(loop: Loop, pipe: tuple[int, int]) -> None:
    fed = Fed(loop, pipe[0], {0})
    fed.feed.start()
    fed.feed.taken(0, 0)
    os.write(pipe[1], b"for others")
    fed.turn()
    assert fed.got == {0: []}
    assert os.read(pipe[0], 100) == b"for others"
