"""What agents without a runner agree on: histories of what node 0 hears."""

from __future__ import annotations

import pytest

from madrun.agent.standalone.coordinator import (
    DONE,
    FAILURE,
    GO,
    OVER,
    READY,
    Coordinator,
    PeerMessage,
)

Event = tuple[int, PeerMessage | str]  # a node rank, and what it said or why it was lost
FAILED_7, FAILED_9 = PeerMessage(FAILURE, 7, 0, "seven"), PeerMessage(FAILURE, 9, 0, "nine")

ALL_READY: list[Event] = [(node_rank, PeerMessage(READY)) for node_rank in range(3)]

HISTORIES: dict[str, tuple[list[Event], list[PeerMessage]]] = {
    "success": (
        [(0, PeerMessage(READY)), (2, PeerMessage(READY)), (1, PeerMessage(READY)),
         (1, PeerMessage(DONE)), (0, PeerMessage(DONE)), (2, PeerMessage(DONE))],
        [PeerMessage(GO), PeerMessage(OVER, 0)],
    ),
    "nobody starts before all are ready": ([(0, PeerMessage(READY)), (1, PeerMessage(READY))], []),
    "one that says it twice is one": (
        [(0, PeerMessage(READY)), (1, PeerMessage(READY)), (1, PeerMessage(READY))], [],
    ),
    "the first failure is everybody's": (
        [*ALL_READY, (2, FAILED_7), (1, FAILED_9),
         (0, PeerMessage(DONE)), (1, PeerMessage(DONE)), (2, PeerMessage(DONE))],
        [PeerMessage(GO), PeerMessage(FAILURE, 7, 2, "seven"), PeerMessage(OVER, 7)],
    ),
    "a failure before the start": (
        [(0, PeerMessage(READY)), (1, FAILED_7), (2, PeerMessage(READY))],
        [PeerMessage(FAILURE, 7, 1, "seven")],
    ),
    "nobody speaks for others": (
        [(2, PeerMessage(FAILURE, 7, 1, "seven"))],
        [PeerMessage(FAILURE, 7, 2, "seven")],
    ),
    "a lost node": (
        [*ALL_READY, (1, "gone"), (0, PeerMessage(DONE)), (2, PeerMessage(DONE))],
        [PeerMessage(GO), PeerMessage(FAILURE, 125, 1, "host b was lost: gone"),
         PeerMessage(OVER, 125)],
    ),
    "who is done may leave": (
        [(1, PeerMessage(DONE)), (1, "gone"), (0, PeerMessage(DONE)), (2, PeerMessage(DONE)),
         (2, "gone")],
        [PeerMessage(OVER, 0)],
    ),
    "the last one to be waited for is lost": (
        [(0, PeerMessage(DONE)), (1, PeerMessage(DONE)), (2, "gone")],
        [PeerMessage(FAILURE, 125, 2, "host c was lost: gone"), PeerMessage(OVER, 125)],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", HISTORIES)
def test_history(name: str) -> None:
    events, wanted = HISTORIES[name]
    hub = Coordinator(("a", "b", "c"))
    said: list[PeerMessage] = []
    for node_rank, what in events:
        if isinstance(what, str):
            said += hub.lost(node_rank, what)
        else:
            said += hub.heard(node_rank, what)
    assert said == wanted
