"""This machine only: the agent runs in the runner's own process, so a job costs one interpreter.

The one place outside agent/ that may import the agent.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from madrun.agent.agent import Agent
from madrun.hosts.devices import own_facts as own_facts
from madrun.system.loop import Loop
from madrun.wire.messages import Hello, Message


class LocalLink:
    """What a channel is for other backends, as function calls on the runner's loop."""

    def __init__(self, loop: Loop, on_message: Callable[[int, Message], None]) -> None:
        self._loop, self._on_message = loop, on_message
        self._agent = Agent(loop, 0, self._up, lambda: None, os.environ)
        self._up(Hello(0, os.uname().nodename, os.getpid(), os.getppid()))

    def send(self, node_rank: int, message: Message) -> None:
        """To the agent, soon: a call in return must find the caller at rest."""
        self._loop.post(lambda: self._agent.receive(message))

    def _up(self, message: Message) -> None:
        self._loop.post(lambda: self._on_message(0, message))
