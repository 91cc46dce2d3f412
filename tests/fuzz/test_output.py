"""Output from a worker's pipe to the console's lines, in any pieces, at any pace."""

from __future__ import annotations

import os
from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from madrun.agent.outflow import Outflow
from madrun.agent.output import Stream, open_pipe
from madrun.output.line_assembler import LineAssembler
from madrun.system.errors import InputError
from madrun.wire.jobspec import shown_ranks
from madrun.wire.messages import STDERR, STDOUT, Dropped, Message, Output

BYTES = st.binary(max_size=60) | st.sampled_from([b"\n", b"a\nb", b"\n\n", b"long" * 5000, b"\0"])
# A carriage return redraws a line, which is another matter: see below.
PIECES = st.lists(
    st.tuples(st.integers(0, 3), BYTES.map(lambda data: data.replace(b"\r", b""))), max_size=20
)


class Way:
    """Two ranks with two streams each, all the way to the lines of the console."""

    def __init__(self) -> None:
        self.under_way: list[Message] = []
        self.lines: dict[int, list[bytes]] = {number: [] for number in range(4)}
        self.dropped = 0
        self._outflow = Outflow(self.under_way.append)
        self._assemblers = [LineAssembler() for _ in range(4)]
        self._pipes = [open_pipe() for _ in range(4)]
        self._streams = [
            Stream(read, number // 2, (STDOUT, STDERR)[number % 2], self._outflow, "")
            for number, (read, _write) in enumerate(self._pipes)
        ]

    def write(self, number: int, data: bytes) -> None:
        os.write(self._pipes[number][1], data)
        self._streams[number].read()

    def pause(self, number: int) -> None:
        self._streams[number].flush(pause=True)

    def take(self, count: int) -> None:
        """The console takes the oldest messages."""
        for message in self.under_way[:count]:
            if isinstance(message, Dropped):
                self.dropped += message.lines
                continue
            assert isinstance(message, Output)
            number = message.rank * 2 + (message.stream == STDERR)
            self.lines[number] += self._assemblers[number].feed(message.data, now=0.0)
            self._outflow.taken(len(message.data))
        del self.under_way[:count]

    def close(self) -> None:
        """The workers end, and the console takes everything."""
        for stream, (_read, write) in zip(self._streams, self._pipes, strict=True):
            os.close(write)
            stream.drain()
            stream.close()
        while self.under_way:
            self.take(len(self.under_way))
        assert self._outflow.empty
        for number, assembler in enumerate(self._assemblers):
            self.lines[number] += assembler.end()


def whole(pieces: Sequence[bytes]) -> list[bytes]:
    """The lines of a stream that was written in pieces."""
    *lines, rest = b"".join(pieces).split(b"\n")
    return [*lines, rest] if rest else lines


@settings(deadline=None)
@given(PIECES, st.lists(st.integers(0, 3), min_size=20, max_size=20))
def test_every_line_arrives_whole_and_in_order(
    pieces: list[tuple[int, bytes]], pace: list[int]
) -> None:
    way = Way()
    for (number, data), count in zip(pieces, pace, strict=False):
        way.write(number, data)
        way.take(count)
    way.close()
    written = {n: whole([data for to, data in pieces if to == n]) for n in range(4)}
    assert way.lines == written
    assert way.dropped == 0


@settings(deadline=None, max_examples=40)
@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 60_000), st.booleans()),
        min_size=20,
        max_size=120,
    ),
    st.integers(0, 60),
)
def test_what_is_not_shown_is_counted(floods: list[tuple[int, int, bool]], start: int) -> None:
    """However much is written while the console takes nothing, with a pause in a line or none."""
    way = Way()
    for at, (number, size, pauses) in enumerate(floods):
        if pauses:
            way.write(number, b"begun")
            way.pause(number)
        way.write(number, b"x" * size + b"\n")
        if at > start:
            way.take(1)
    way.close()
    assert sum(map(len, way.lines.values())) + way.dropped == len(floods)


@given(st.lists(st.binary(max_size=12).map(lambda data: data.replace(b"\n", b"\r")), max_size=12))
def test_of_a_redrawn_line_the_last_state_is_shown(pieces: list[bytes]) -> None:
    lines, shown = LineAssembler(), list[bytes]()
    for at, piece in enumerate(pieces):
        shown += lines.feed(piece, now=float(at))
    shown += lines.feed(b"\n", now=99.0)
    states = [state for state in b"".join(pieces).split(b"\r") if state]
    assert (shown[-1:] or [b""]) == (states[-1:] or [b""])
    assert lines.end() == []


@given(
    st.text(alphabet="0123456789,- allfirstnone", max_size=12)
    | st.lists(st.integers(0, 9), min_size=1).map(lambda ranks: ",".join(map(str, ranks))),
    st.integers(1, 12),
)
def test_any_output_selection_is_ranks_or_a_refusal(text: str, world_size: int) -> None:
    refusal = ""
    try:
        ranks = shown_ranks(text, world_size)
    except InputError as error:
        refusal = str(error)
    else:
        assert ranks <= set(range(world_size))
        assert ranks or text == "none"
    assert "\n" not in refusal
