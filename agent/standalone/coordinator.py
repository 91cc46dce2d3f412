"""What the agents of a job without a runner agree on: decided on node 0, told to all.

Every agent says ``ready``, later ``done``; in between any may say ``failed``. What is decided -
``go``, ``failed``, ``over`` - is the same for all, so that all end for the same reason and with
the same exit status. No I/O happens here.
"""

from __future__ import annotations

from typing import NamedTuple

from madrun.system.exits import FAILED

READY, GO, FAILURE, DONE, OVER, BEAT = "ready", "go", "failed", "done", "over", "beat"


class PeerMessage(NamedTuple):
    """One message between agents; ``origin`` is the node rank that a failure began on."""

    kind: str
    status: int = 0
    origin: int = 0
    text: str = ""


class Coordinator:
    """Takes every agent's words; returns what all agents, that of node 0 too, have to hear."""

    def __init__(self, hosts: tuple[str, ...]) -> None:
        self._hosts = hosts
        self._ready: set[int] = set()
        self._done: set[int] = set()
        self._over = False
        self.failure: PeerMessage | None = None

    def heard(self, node_rank: int, word: PeerMessage) -> list[PeerMessage]:
        """An agent said something; it speaks for itself only."""
        if word.kind == READY:
            self._ready.add(node_rank)
            everybody = len(self._ready) == len(self._hosts)
            return [PeerMessage(GO)] if everybody and self.failure is None else []
        if word.kind == FAILURE:
            return self._failed(word._replace(origin=node_rank))
        if word.kind == DONE:
            self._done.add(node_rank)
            return self._check_over()
        return []

    def lost(self, node_rank: int, reason: str) -> list[PeerMessage]:
        """An agent will not be heard again; expected of none before the job is over."""
        if node_rank in self._done or self._over:
            return []
        self._done.add(node_rank)
        text = f"host {self._hosts[node_rank]} was lost: {reason}"
        return [*self._failed(PeerMessage(FAILURE, FAILED, node_rank, text)), *self._check_over()]

    def _failed(self, word: PeerMessage) -> list[PeerMessage]:
        """Whatever is heard of first is the cause; what comes later is its consequence."""
        if self.failure is not None or self._over:
            return []
        self.failure = word
        return [word]

    def _check_over(self) -> list[PeerMessage]:
        if self._over or len(self._done) < len(self._hosts):
            return []
        self._over = True
        return [PeerMessage(OVER, self.failure.status if self.failure else 0)]
