"""The workers' stdin as the agent fills it, with real pipes on a real loop."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest

from madrun.agent.input import Inputs
from madrun.system.loop import Loop
from madrun.wire.messages import InputCredit, Message

MUCH = bytes(range(256)) * 1024  # more than a pipe holds


class Fed:
    """One worker, rank 3, and what was said about its stdin."""

    def __init__(self, loop: Loop) -> None:
        self.loop = loop
        self.said: list[Message] = []
        self.inputs = Inputs(loop, self.said.append)
        self.stdin, write = os.pipe2(os.O_NONBLOCK)
        self.inputs.open(3, write)

    def taken(self) -> int:
        return sum(each.size for each in self.said if isinstance(each, InputCredit))

    @property
    def closed(self) -> bool:
        return InputCredit(3, 0) in self.said

    def read(self, wanted: int) -> bytes:
        """So many bytes, or fewer at the end, while the loop runs."""
        got = bytearray()

        def readable() -> None:
            data = os.read(self.stdin, 8192)
            got.extend(data)
            if not data or len(got) >= wanted:
                self.loop.stop()

        self.loop.watch(self.stdin, readable)
        self.loop.run()
        self.loop.unwatch(self.stdin)
        return bytes(got)


@pytest.fixture
def fed() -> Iterator[Fed]:
    loop = Loop()
    made = Fed(loop)
    yield made
    made.inputs.close(3)
    loop.close()
    try:
        os.close(made.stdin)
    except OSError:
        return


def test_what_fits_is_written_and_said_at_once(fed: Fed) -> None:
    fed.inputs.put(3, b"line\n")
    assert os.read(fed.stdin, 100) == b"line\n"
    assert fed.said == [InputCredit(3, 5)]


def test_what_does_not_fit_waits_and_nothing_is_said_of_it(fed: Fed) -> None:
    fed.inputs.put(3, MUCH)
    at_first = fed.taken()
    assert 0 < at_first < len(MUCH)
    assert fed.read(len(MUCH)) == MUCH
    assert fed.taken() == len(MUCH)
    assert not fed.closed


def test_the_end_comes_after_what_waits(fed: Fed) -> None:
    fed.inputs.put(3, MUCH)
    fed.inputs.put(3, b"")
    assert not fed.closed
    assert fed.read(len(MUCH) + 1) == MUCH
    assert fed.closed


@pytest.mark.parametrize("before", [b"", MUCH], ids=["empty", "full"])
def test_a_reader_that_goes_ends_the_flow_without_a_word(fed: Fed, before: bytes) -> None:
    if before:
        fed.inputs.put(3, before)
    os.close(fed.stdin)
    stop_soon(fed.loop, lambda: fed.inputs.put(3, b"x"))
    fed.loop.run()
    assert fed.said[-1] == InputCredit(3, 0)
    fed.inputs.put(3, b"more")
    fed.inputs.put(3, b"")
    assert fed.said.count(InputCredit(3, 0)) == 1


def test_nobody_else_has_a_stdin(fed: Fed) -> None:
    fed.inputs.put(4, b"x")
    fed.inputs.close(4)
    assert fed.said == []


def stop_soon(loop: Loop, first: Callable[[], None]) -> None:
    loop.post(first)
    loop.call_later(0.05, loop.stop)
