"""An agent in the coordinator's own process: a job of one machine costs one interpreter."""

from __future__ import annotations

import os
from collections.abc import Callable

from madrun.agent.agent import Agent
from madrun.system.guard import guard_pid
from madrun.system.loop import Loop
from madrun.wire.messages import Hello, Message


class LocalLink:
    """What a channel is for other agents, as function calls on the coordinator's loop.

    ``on_gone`` is called when the agent has nothing left to do; it may be called twice.
    """

    def __init__(
        self,
        loop: Loop,
        on_message: Callable[[int, Message], None],
        node_rank: int = 0,
        on_gone: Callable[[], None] = lambda: None,
    ) -> None:
        self._loop, self._on_message, self._node_rank = loop, on_message, node_rank
        self._agent = Agent(loop, node_rank, self._up, on_gone, os.environ)
        self._up(Hello(node_rank, os.uname().nodename, os.getpid(), guard_pid()))

    def send(self, node_rank: int, message: Message) -> None:
        """To the agent, soon: a call in return must find the caller at rest."""
        self._loop.post(lambda: self._agent.receive(message))

    def admit(self, node_rank: int, key: str) -> None:
        """It is here, and needs no key."""

    def to_ours(self, node_rank: int, at: float) -> float:
        """Its clock is ours."""
        return at

    def clock_error(self, node_rank: int) -> float:
        """None."""
        return 0.0

    def _up(self, message: Message) -> None:
        self._loop.post(lambda: self._on_message(self._node_rank, message))
