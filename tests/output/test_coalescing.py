"""Folding: what is the same is shown once, nothing is lost, and no rank's order changes."""

from __future__ import annotations

from collections import defaultdict

from hypothesis import given
from hypothesis import strategies as st

from madrun.output.coalescing import HOLD, CoalescedLine, Coalescer
from support.programs import PATIENCE, program

Written = list[tuple[int, bytes]]


def folded(written: Written, world_size: int = 4, step: float = 0.0) -> list[CoalescedLine]:
    """What comes of lines that were written ``step`` seconds apart, all on stdout."""
    fold = Coalescer(world_size)
    shown = []
    for number, (rank, line) in enumerate(written):
        fold.add(rank, 1, line, len(line) + 1, number * step)
        shown += fold.due(number * step)
    return shown + fold.rest()


def texts(shown: list[CoalescedLine]) -> list[tuple[bytes, tuple[int, ...]]]:
    return [(each.line, each.ranks) for each in shown]


def test_what_all_write_is_one_line_at_once() -> None:
    fold = Coalescer(3)
    for rank in (2, 0):
        fold.add(rank, 1, b"hello", 6, 0.0)
    assert fold.due(0.0) == []
    fold.add(1, 1, b"hello", 6, 0.1)
    assert fold.due(0.1) == [CoalescedLine(1, b"hello", (0, 1, 2), ((2, 6), (0, 6), (1, 6)))]
    assert fold.next_due() is None


def test_who_is_late_is_not_waited_for_longer_than_that() -> None:
    fold = Coalescer(3)
    fold.add(0, 1, b"hello", 6, 10.0)
    fold.add(1, 1, b"hello", 6, 10.1)
    assert fold.next_due() == 10.0 + HOLD
    assert texts(fold.due(10.0 + HOLD)) == [(b"hello", (0, 1))]
    fold.add(2, 1, b"hello", 6, 10.3)
    assert texts(fold.rest()) == [(b"hello", (2,))]


def test_streams_are_apart() -> None:
    fold = Coalescer(2)
    fold.add(0, 1, b"x", 2, 0.0)
    fold.add(1, 2, b"x", 2, 0.0)
    assert [(each.stream, each.ranks) for each in fold.rest()] == [(1, (0,)), (2, (1,))]


def test_a_line_never_overtakes_another_of_its_rank() -> None:
    assert texts(folded([(0, b"a"), (0, b"b"), (1, b"b"), (1, b"a")])) == [
        (b"a", (0,)),
        (b"b", (0, 1)),
        (b"a", (1,)),
    ]


def test_a_line_twice_is_twice() -> None:
    written = [(rank, b"x") for rank in (0, 0, 1, 1)]
    assert texts(folded(written, world_size=2)) == [(b"x", (0, 1)), (b"x", (0, 1))]


def test_one_rank_alone_waits_for_nobody() -> None:
    fold = Coalescer(1)
    fold.add(0, 1, b"x", 2, 0.0)
    assert texts(fold.due(0.0)) == [(b"x", (0,))]


def test_many_equal_lines_of_one_rank_cost_no_search() -> None:
    written = [(rank, b"x") for rank in (0, 1) for _ in range(20_000)]
    assert len(folded(written, world_size=2)) == 20_000


@given(
    st.lists(st.tuples(st.integers(0, 3), st.sampled_from([b"a", b"b", b"c", b""])), max_size=60),
    st.sampled_from([0.0, 0.05, 0.3]),
)
def test_every_rank_can_be_read_as_it_was_written(written: Written, step: float) -> None:
    lines: dict[int, list[bytes]] = defaultdict(list)
    for rank, line in written:
        lines[rank].append(line)
    shown = folded(written, step=step)
    found: dict[int, list[bytes]] = defaultdict(list)
    sizes: dict[int, int] = defaultdict(int)
    for each in shown:
        for rank in each.ranks:
            found[rank].append(each.line)
        for rank, size in each.sizes:
            sizes[rank] += size
    assert found == lines
    assert sizes == {rank: sum(len(line) + 1 for line in lines[rank]) for rank in lines}


CONSOLE = """
import os, sys, threading
from madrun.output.coalescing_console import CoalescingConsole
from madrun.output.look import Look
from madrun.system.loop import Loop
taken = []
loop = Loop()
console = CoalescingConsole(["a", "a", "b"], Look(PREFIX), lambda *each: taken.append(each), loop)
for rank in range(3):
    console.output(rank, 1, b"all\\n")
for rank in range(2):
    console.output(rank, 1, b"some\\n")
console.output(2, 1, b"own\\nname? ", True)
loop.call_later(0.5, loop.stop)
console.output(1, 2, b"late\\n")
loop.run()
os.write(1, b"|")
console.output(2, 1, b"me\\nnext\\n")
console.close(20)
print(sorted(taken), file=sys.stderr)
"""


def shown_by_console(prefix: bool) -> tuple[str, str]:
    with program(CONSOLE.replace("PREFIX", str(prefix)), stderr=-1) as process:
        out, err = process.communicate(timeout=PATIENCE)
    return out.decode(), err.decode()


def test_the_console_folds_and_acknowledges_everything() -> None:
    out, err = shown_by_console(prefix=True)
    assert out == (
        "[×3] all\n[ranks 0-1] some\n[b:2] own\n[b:2] name? |me\n[b:2] next\n"  # noqa: RUF001
    )
    taken = [(0, 4), (0, 5), (1, 4), (1, 5), (1, 5), (2, 4), (2, 8), (2, 10)]
    assert err == f"[a:1] late\n{taken}\n"


def test_without_prefix() -> None:
    out, _ = shown_by_console(prefix=False)
    assert out == "all\nsome\nown\nname? |me\nnext\n"
