"""The agents of a job without a runner, while it runs: each hears what becomes of the others.

Node 0 holds a line to every other node. What one agent says reaches all through it, and a
silence of ten seconds is a loss, on either end.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

from madrun.agent.standalone.coordinator import (
    BEAT,
    DONE,
    FAILURE,
    GO,
    OVER,
    READY,
    Coordinator,
    PeerMessage,
)
from madrun.agent.standalone.json_socket import JsonSocket
from madrun.system.exits import FAILED
from madrun.system.loop import Loop

SILENCE = 10.0  # seconds; then whoever should have been heard is lost
_BEAT_INTERVAL = 2.0
_FAREWELL = 2.0  # seconds for the last words to be taken


class Peers:
    """This node's view of the others; ``on_word`` gets go, failed and over, each once at most.

    ``lines`` are those of the meeting, ``hosts`` the names by node rank.
    """

    def __init__(
        self,
        loop: Loop,
        node_rank: int,
        hosts: tuple[str, ...],
        lines: dict[int, JsonSocket],
        on_word: Callable[[PeerMessage], None],
    ) -> None:
        self._loop, self._lines, self._on_word = loop, lines, on_word
        self._own, self._first = node_rank, hosts[0]
        self._hub = Coordinator(hosts) if node_rank == 0 else None
        self._heard: set[str] = set()
        self.silent = False  # somebody is lost who may still run
        for rank, line in lines.items():
            line.on_message = partial(self._message, rank)
            line.on_end = partial(self._ended, rank)
            line.heard_at = time.monotonic()
            line.release()
        if lines:
            self._beat()

    def ready(self) -> None:
        """This node is able to start."""
        self._say(PeerMessage(READY))

    def failed(self, status: int, text: str) -> None:
        """The job is to end: this happened here, and with this exit status."""
        self._say(PeerMessage(FAILURE, status, self._own, text))

    def done(self) -> None:
        """Nothing of the job runs here any more."""
        self._say(PeerMessage(DONE))

    def leave(self, then: Callable[[], None]) -> None:
        """After ``over``: let the others hear it, and go on with ``then``."""
        if self._hub is None or not self._lines:
            then()
            return
        for line in self._lines.values():
            line.finish()
        self._farewell = then
        self._loop.call_later(_FAREWELL, then)
        self._check_farewell()

    def _say(self, word: PeerMessage) -> None:
        if self._hub is not None:
            self._tell_all(self._hub.heard(0, word))
        else:
            for line in self._lines.values():
                line.send(*word)

    def _tell_all(self, words: list[PeerMessage]) -> None:
        for word in words:
            for line in list(self._lines.values()):
                line.send(*word)
            self._hear(word)

    def _hear(self, word: PeerMessage) -> None:
        """On a later turn: who says something must be at rest when the answer comes."""
        if word.kind not in self._heard:
            self._heard.add(word.kind)
            self._loop.post(lambda: self._on_word(word))

    def _message(self, node_rank: int, message: list[Any]) -> None:
        match message:
            case [str(kind), int(status), int(origin), str(text)] if 0 <= status < 256:
                word = PeerMessage(kind, status, origin, text)
            case _:
                return
        if self._hub is not None:
            self._tell_all(self._hub.heard(node_rank, word))
        elif kind in (GO, FAILURE, OVER):
            self._hear(word)

    def _ended(self, node_rank: int, reason: str) -> None:
        self._lines.pop(node_rank, None)
        if self._hub is not None:
            self._tell_all(self._hub.lost(node_rank, reason))
            self._check_farewell()
        elif OVER not in self._heard:
            text = f"host {self._first} was lost: {reason}"
            self._hear(PeerMessage(FAILURE, FAILED, 0, text))
            self._hear(PeerMessage(OVER, FAILED))

    def _beat(self) -> None:
        now = time.monotonic()
        for rank, line in list(self._lines.items()):
            if now - line.heard_at > SILENCE:
                self.silent = True
                line.close()
                self._ended(rank, f"no word from its agent for {SILENCE:g} s")
            else:
                line.send(*PeerMessage(BEAT))
        self._loop.call_later(_BEAT_INTERVAL, self._beat)

    _farewell: Callable[[], None] | None = None

    def _check_farewell(self) -> None:
        if self._farewell is not None and not self._lines:
            self._farewell()
