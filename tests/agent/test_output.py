"""Workers' output: the window, fairness, what is dropped, and log files."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from madrun.agent import outflow
from madrun.agent.outflow import Outflow
from madrun.agent.output import TAIL_SIZE, Pauses, Stream, log_name, open_pipe
from madrun.system.errors import ClusterError
from madrun.system.loop import Loop
from madrun.wire.messages import OUTPUT_WINDOW, STDERR, STDOUT, Dropped, Message, Output

WINDOW, BACKLOG = OUTPUT_WINDOW, outflow._BACKLOG
FULL = b"x" * (16 * 1024 - 1) + b"\n"


class Sent:
    """What an Outflow has sent."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.outflow = Outflow(self.messages.append)

    def outputs(self) -> list[Output]:
        return [each for each in self.messages if isinstance(each, Output)]

    def empty(self) -> bool:
        """True once everything was sent and taken."""
        return self.outflow.empty

    def take_next(self, taken: int) -> int:
        """Take the oldest message that was not taken yet; returns how many were."""
        self.outflow.taken(len(self.outputs()[taken].data))
        return taken + 1


def is_unfinished(stream: Stream) -> bool:
    return stream.unfinished


@pytest.fixture
def sent() -> Sent:
    return Sent()


def test_what_fits_is_sent_at_once(sent: Sent) -> None:
    assert sent.empty()
    sent.outflow.put(3, STDERR, b"one\n")
    assert sent.messages == [Output(3, STDERR, b"one\n")]
    assert not sent.empty(), "sent is not taken"
    sent.outflow.taken(4)
    assert sent.empty()


def test_no_more_than_the_window_is_under_way(sent: Sent) -> None:
    for _ in range(60):
        sent.outflow.put(0, STDOUT, FULL)
    under_way = sum(len(each.data) for each in sent.outputs())
    assert WINDOW <= under_way < WINDOW + len(FULL)
    taken = 0
    while taken < len(sent.outputs()):
        taken = sent.take_next(taken)
    assert taken == 60
    assert sent.empty()
    assert not any(isinstance(each, Dropped) for each in sent.messages)


def test_order_is_kept_within_a_rank(sent: Sent) -> None:
    for number in range(200):
        sent.outflow.put(0, STDOUT, b"%d " % number + FULL)
        sent.outflow.put(0, STDERR, b"%d\n" % number)
        if number >= 10:
            sent.take_next(number - 10)
    numbers = [int(each.data.split()[0]) for each in sent.outputs()]
    assert numbers == sorted(numbers)


def test_what_is_beyond_the_backlog_is_counted_and_said_when_there_is_room(sent: Sent) -> None:
    lines = 3 * (WINDOW + BACKLOG) // len(FULL)
    for _ in range(lines):
        sent.outflow.put(0, STDOUT, FULL)
    taken = 0
    while taken < len(sent.outputs()):
        taken = sent.take_next(taken)
    (dropped,) = [each for each in sent.messages if isinstance(each, Dropped)]
    assert dropped.rank == 0
    assert dropped.lines == lines - taken
    assert sent.empty()
    sent.outflow.put(0, STDOUT, b"again\n")
    assert sent.messages[-1] == Output(0, STDOUT, b"again\n")


def test_lines_are_counted_not_pieces(sent: Sent) -> None:
    full = WINDOW // len(FULL) + BACKLOG // len(FULL)
    for _ in range(full):
        sent.outflow.put(0, STDOUT, FULL)
    sent.outflow.put(0, STDOUT, b"\n" * 1000 + FULL)
    sent.outflow.taken(100 * WINDOW)
    assert sent.messages[-1] == Dropped(0, 1001)


def test_a_flood_of_one_rank_costs_no_other_rank_its_lines(sent: Sent) -> None:
    for _ in range(500):
        sent.outflow.put(0, STDOUT, FULL)
    sent.outflow.put(1, STDOUT, b"hello\n")
    sent.outflow.taken(100 * WINDOW)
    assert Output(1, STDOUT, b"hello\n") in sent.messages
    assert {each.rank for each in sent.messages if isinstance(each, Dropped)} == {0}


def test_ranks_take_turns_when_the_console_is_slow(sent: Sent) -> None:
    """A console that takes one piece after the other shows every rank in turn."""
    for rank in (0, 1, 2):
        for _ in range(30):
            sent.outflow.put(rank, STDOUT, FULL)
    taken = 0
    for _ in range(WINDOW // len(FULL) + 30):
        taken = sent.take_next(taken)
    late = [each.rank for each in sent.outputs()[WINDOW // len(FULL) :]][:30]
    assert {rank: late.count(rank) >= 8 for rank in (0, 1, 2)} == dict.fromkeys((0, 1, 2), True)


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """A worker's pipe: our end, its end; a test may close the latter."""
    read, write = open_pipe()
    yield read, write
    for fd in (read, write):
        try:
            os.close(fd)
        except OSError:
            continue


def test_lines_leave_whole_and_the_rest_waits(pipe: tuple[int, int], sent: Sent) -> None:
    stream = Stream(pipe[0], 2, STDOUT, sent.outflow, "")
    for piece in (b"one\ntw", b"o\nthree"):
        os.write(pipe[1], piece)
        assert stream.read()
    assert [each.data for each in sent.outputs()] == [b"one\n", b"two\n"]
    assert is_unfinished(stream)
    stream.flush()
    stream.flush()
    assert [each.data for each in sent.outputs()] == [b"one\n", b"two\n", b"three"]
    assert not is_unfinished(stream)
    assert stream.tail == b"one\ntwo\nthree"


def test_states_of_a_bar_do_not_wait_for_a_line_end(pipe: tuple[int, int], sent: Sent) -> None:
    stream = Stream(pipe[0], 0, STDOUT, sent.outflow, "")
    os.write(pipe[1], b"10%\r20%\r3")
    stream.read()
    assert [each.data for each in sent.outputs()] == [b"10%\r20%\r"]


def test_a_line_without_end_does_not_fill_the_memory(pipe: tuple[int, int], sent: Sent) -> None:
    stream = Stream(pipe[0], 0, STDOUT, sent.outflow, "")
    for _ in range(500):
        os.write(pipe[1], b"y" * 10_000)
        stream.read()
    os.write(pipe[1], b"y\nafter\n")
    stream.read()
    sent.outflow.taken(100 * WINDOW)
    shown = b"".join(each.data for each in sent.outputs())
    assert shown == b"y" * outflow._LONGEST_LINE + outflow._TOO_LONG + b"\nafter\n"
    assert max(len(each.data) for each in sent.outputs()) < 100_000


def test_the_long_beginning_of_a_line_is_no_prompt(sent: Sent) -> None:
    sent.outflow.put(0, STDOUT, b"name? ", pause=True)
    sent.outflow.put(0, STDOUT, b"x" * 5000, pause=True)
    assert [each.pause for each in sent.outputs()] == [True, False]


def test_a_bar_that_is_drawn_for_hours_is_no_long_line(sent: Sent) -> None:
    for _ in range(20):
        sent.outflow.put(0, STDOUT, b"50%|#####     |\r" * 2000)
        sent.outflow.taken(100 * WINDOW)
    assert not any(outflow._TOO_LONG in each.data for each in sent.outputs())


def test_an_empty_pipe_is_not_its_end(pipe: tuple[int, int]) -> None:
    stream = Stream(pipe[0], 0, STDOUT, None, "")
    assert stream.read()
    stream.drain()
    os.close(pipe[1])
    assert not stream.read()
    stream.drain()


def test_only_the_end_is_kept(pipe: tuple[int, int]) -> None:
    stream = Stream(pipe[0], 0, STDOUT, None, "")
    everything = b"".join(b"line %d\n" % n for n in range(20_000))
    for start in range(0, len(everything), 30_000):
        os.write(pipe[1], everything[start : start + 30_000])
        stream.read()
    assert stream.tail == everything[-TAIL_SIZE:]


def test_a_log_file_that_cannot_be_opened(pipe: tuple[int, int], tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    path = str(tmp_path / "log")
    stream = Stream(pipe[0], 0, STDOUT, None, path, must_log=False)
    assert (stream.log_path, stream.log_problem) == ("", f"no log file {path}: Is a directory")
    with pytest.raises(ClusterError, match=f"log file {path}: Is a directory"):
        Stream(pipe[0], 0, STDOUT, None, path)


def test_log_files_are_complete_byte_for_byte(pipe: tuple[int, int], tmp_path: Path) -> None:
    """Also where the console takes nothing at all."""
    path = tmp_path / log_name(0, STDOUT)
    path.write_text("of an earlier job, and longer")
    stream = Stream(pipe[0], 0, STDOUT, Outflow(lambda _message: None), str(path))
    everything = os.urandom(3_000_000)
    for start in range(0, len(everything), 60_000):
        os.write(pipe[1], everything[start : start + 60_000])
        stream.read()
    os.write(pipe[1], b"last words")
    os.close(pipe[1])
    stream.drain()
    stream.close()
    assert path.read_bytes() == everything + b"last words"
    assert stream.log_problem == ""


def test_a_new_log_is_for_its_owner_only(pipe: tuple[int, int], tmp_path: Path) -> None:
    Stream(pipe[0], 0, STDERR, None, str(tmp_path / "log")).flush()
    assert (tmp_path / "log").stat().st_mode & 0o777 == 0o600


def test_a_full_disk_stops_nothing_and_is_said(pipe: tuple[int, int], sent: Sent) -> None:
    stream = Stream(pipe[0], 0, STDOUT, sent.outflow, "/dev/full")
    for _ in range(2):
        os.write(pipe[1], b"line\n")
        assert stream.read()
    assert stream.log_problem == "/dev/full is incomplete: No space left on device"
    assert len(sent.outputs()) == 2
    assert stream.tail == b"line\nline\n"


def test_the_workers_end_blocks_and_ours_does_not(pipe: tuple[int, int]) -> None:
    assert [os.get_blocking(fd) for fd in pipe] == [False, True]
    assert not any(os.get_inheritable(fd) for fd in pipe)


@pytest.mark.parametrize(
    ("rank", "stream", "name"),
    [(0, STDOUT, "rank0000.out"), (17, STDERR, "rank0017.err"), (12345, STDOUT, "rank12345.out")],
)
def test_log_name(rank: int, stream: int, name: str) -> None:
    assert log_name(rank, stream) == name


def test_a_line_that_lost_its_end_is_ended_and_one_that_lost_its_beginning_is_dropped_whole(
    sent: Sent,
) -> None:
    for _ in range((WINDOW + BACKLOG) // len(FULL) - 1):
        sent.outflow.put(0, STDOUT, FULL)
    sent.outflow.put(0, STDOUT, b"begun")
    sent.outflow.put(0, STDOUT, b"x\n" + FULL * 64 + b"begun too")
    sent.outflow.taken(100 * WINDOW)
    assert sent.messages[-1] == Dropped(0, 65), "of the one that was torn a part is shown"
    sent.outflow.put(0, STDOUT, b" and more")
    sent.outflow.put(0, STDOUT, b" and ended\nwhole\n")
    assert [each.data for each in sent.outputs()[-2:]] == [b"begun", outflow._TORN + b"whole\n"]


def test_a_prompt_leaves_after_a_while_and_once(pipe: tuple[int, int], sent: Sent) -> None:
    loop = Loop()
    stream, pauses = Stream(pipe[0], 0, STDOUT, sent.outflow, ""), Pauses(loop)
    began = time.monotonic()
    for piece in (b"line\nna", b"me", b"? "):
        os.write(pipe[1], piece)
        stream.read()
        pauses.heard(stream)
        loop.call_later(0.05, loop.stop)
        loop.run()
    assert [each.data for each in sent.outputs()] == [b"line\n"]
    while is_unfinished(stream):
        loop.call_later(0.01, loop.stop)
        loop.run()
    assert 0.25 < time.monotonic() - began < 2
    assert sent.messages[-1] == Output(0, STDOUT, b"name? ", pause=True)
    loop.close()
