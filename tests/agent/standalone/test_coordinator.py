"""What agents without a runner agree on: histories of what node 0 hears."""

from __future__ import annotations

import pytest

from madrun.agent.standalone.coordinator import DONE, FAILURE, GO, OVER, READY, Hub, Word

Event = tuple[int, Word | str]  # a node rank, and what it said or why it was lost
FAILED_7, FAILED_9 = Word(FAILURE, 7, 0, "seven"), Word(FAILURE, 9, 0, "nine")

ALL_READY: list[Event] = [(node_rank, Word(READY)) for node_rank in range(3)]

HISTORIES: dict[str, tuple[list[Event], list[Word]]] = {
    "success": (
        [(0, Word(READY)), (2, Word(READY)), (1, Word(READY)),
         (1, Word(DONE)), (0, Word(DONE)), (2, Word(DONE))],
        [Word(GO), Word(OVER, 0)],
    ),
    "nobody starts before all are ready": ([(0, Word(READY)), (1, Word(READY))], []),
    "one that says it twice is one": ([(0, Word(READY)), (1, Word(READY)), (1, Word(READY))], []),
    "the first failure is everybody's": (
        [*ALL_READY, (2, FAILED_7), (1, FAILED_9),
         (0, Word(DONE)), (1, Word(DONE)), (2, Word(DONE))],
        [Word(GO), Word(FAILURE, 7, 2, "seven"), Word(OVER, 7)],
    ),
    "a failure before the start": (
        [(0, Word(READY)), (1, FAILED_7), (2, Word(READY))],
        [Word(FAILURE, 7, 1, "seven")],
    ),
    "nobody speaks for others": (
        [(2, Word(FAILURE, 7, 1, "seven"))],
        [Word(FAILURE, 7, 2, "seven")],
    ),
    "a lost node": (
        [*ALL_READY, (1, "gone"), (0, Word(DONE)), (2, Word(DONE))],
        [Word(GO), Word(FAILURE, 125, 1, "host b was lost: gone"), Word(OVER, 125)],
    ),
    "who is done may leave": (
        [(1, Word(DONE)), (1, "gone"), (0, Word(DONE)), (2, Word(DONE)), (2, "gone")],
        [Word(OVER, 0)],
    ),
    "the last one to be waited for is lost": (
        [(0, Word(DONE)), (1, Word(DONE)), (2, "gone")],
        [Word(FAILURE, 125, 2, "host c was lost: gone"), Word(OVER, 125)],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", HISTORIES)
def test_history(name: str) -> None:
    events, wanted = HISTORIES[name]
    hub = Hub(("a", "b", "c"))
    said: list[Word] = []
    for node_rank, what in events:
        if isinstance(what, str):
            said += hub.lost(node_rank, what)
        else:
            said += hub.heard(node_rank, what)
    assert said == wanted
