"""An agent in a process of its own, driven by messages as a runner would."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

from madrun.wire.codec import pack, unpack
from madrun.wire.jobspec import JobSpec
from madrun.wire.messages import (
    Begin,
    Bye,
    CheckIn,
    Exited,
    Finished,
    Go,
    Message,
    Output,
    OutputCredit,
    Started,
)
from support.programs import PATIENCE, Program, program

Kind = TypeVar("Kind")

AGENT = """
import os, signal, struct, sys
from madrun.agent.agent import Agent
from madrun.wire.codec import pack, unpack
from madrun.system.loop import Loop

up = os.dup(1)
os.dup2(2, 1)

def send(message):
    frame = pack(message)
    os.write(up, struct.pack("=I", len(frame)) + frame)

def receive():
    size = os.read(0, 4)
    if not size:
        loop.unwatch(0)
        agent.abandon()
        return
    frame, wanted = b"", struct.unpack("=I", size)[0]
    while len(frame) < wanted:
        frame += os.read(0, wanted - len(frame))
    agent.receive(unpack(frame))

loop = Loop()
agent = Agent(loop, int(sys.argv[1]), send, loop.stop, os.environ)
loop.on_signal(signal.SIGTERM, agent.interrupt)
loop.watch(0, receive)
loop.run()
"""


class Driven:
    """The runner's part, played by the test."""

    def __init__(self, process: Program) -> None:
        self.process = process
        self.heard: list[Message] = []

    def tell(self, message: Message) -> None:
        assert self.process.stdin is not None
        frame = pack(message)
        self.process.stdin.write(struct.pack("=I", len(frame)) + frame)
        self.process.stdin.flush()

    def hear(self) -> Message | None:
        assert self.process.stdout is not None
        size = self.process.stdout.read(4)
        if not size:
            return None
        self.heard.append(unpack(self.process.stdout.read(struct.unpack("=I", size)[0])))
        return self.heard[-1]

    def until(self, kind: type[Kind]) -> Kind:
        """The next message of a kind; output is acknowledged meanwhile."""
        while (message := self.hear()) is not None:
            if isinstance(message, Output):
                self.tell(OutputCredit(len(message.data)))
            if isinstance(message, kind):
                return message
        raise AssertionError(f"no {kind.__name__} came")

    def go(self, spec: JobSpec) -> tuple[int, ...]:
        """Begin and Go; the workers' process ids."""
        self.tell(Begin(spec))
        assert self.until(CheckIn).problem == ""
        self.tell(Go("127.0.0.1", 4711))
        return self.until(Started).pids

    def text(self, count: int) -> str:
        """What workers wrote, once this many lines are there."""
        while (said := self.said()).count("\n") < count:
            self.until(Output)
        return said

    def said(self) -> str:
        return b"".join(each.data for each in self.heard if isinstance(each, Output)).decode()

    def ends(self) -> dict[int, tuple[int, bool]]:
        """Status, and whether it had been told to stop, by rank."""
        exits = [each for each in self.heard if isinstance(each, Exited)]
        return {each.rank: (each.status, each.ended) for each in exits}

    def over(self) -> Finished:
        """It has finished, and goes when it is told so."""
        finished = self.until(Finished)
        self.tell(Bye())
        assert self.process.wait(PATIENCE) == 0
        return finished


@contextmanager
def agent(node_rank: int = 0, /, **env: str) -> Iterator[Driven]:
    clean = {key: value for key, value in os.environ.items() if not key.endswith("VISIBLE_DEVICES")}
    with program(AGENT, str(node_rank), env=clean | env) as process:
        yield Driven(process)
