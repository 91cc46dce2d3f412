"""An agent speaks for the ranks of its own node, and for nobody else's."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from madrun.hosts.world import Node, World
from madrun.job.coordinator import Assignment, Coordinator
from madrun.output.console import Console
from madrun.output.progress import Progress
from madrun.system.loop import Loop
from madrun.wire.jobspec import JobSpec
from madrun.wire.messages import STDOUT, Dropped, Exited, Message, Output

WORLD = World((Node("a", (0, 1)), Node("b", (0, 1))))
OTHERS = [0, 1, 4, 10**9, -1]  # as seen from node 1, which has ranks 2 and 3


class Runner:
    """A job that has not begun, its console, and the two together."""

    def __init__(self) -> None:
        self.consoles: list[Console] = []
        self.loop = Loop()
        spec = JobSpec("j", WORLD, ("x",))
        self.job = Coordinator(self.loop, Assignment(spec, "1", 10.0), self._console, Progress(2))

    def _console(self, on_taken: Callable[[int, int], None]) -> Console:
        self.consoles.append(Console(["a", "a", "b", "b"]))
        return self.consoles[0]

    def hear_and_close(self, *messages: Message) -> None:
        for message in messages:
            self.job.receive(1, message)
        self.consoles[0].close(10.0)
        self.loop.close()


def test_its_own_ranks_are_shown(capfd: pytest.CaptureFixture[str]) -> None:
    Runner().hear_and_close(Output(2, STDOUT, b"mine\n"), Output(3, STDOUT, b"too\n"))
    assert capfd.readouterr().out == "[b:2] mine\n[b:3] too\n"


@pytest.mark.parametrize("rank", OTHERS)
def test_output_of_anybody_else_is_not(rank: int, capfd: pytest.CaptureFixture[str]) -> None:
    Runner().hear_and_close(
        Output(rank, STDOUT, b"forged\n"), Dropped(rank, 7), Output(2, STDOUT, b"mine\n")
    )
    out, err = capfd.readouterr()
    assert (out, err) == ("[b:2] mine\n", "")


@pytest.mark.parametrize("rank", OTHERS)
def test_nor_does_it_end_anybody_elses_output(rank: int, capfd: pytest.CaptureFixture[str]) -> None:
    runner = Runner()
    runner.job.receive(0, Output(0, STDOUT, b"half a "))
    runner.job.receive(0, Output(1, STDOUT, b"half a "))
    runner.job.receive(1, Exited(rank, 1, 0, 1.0, ended=False))
    runner.job.receive(0, Output(0, STDOUT, b"line\n"))
    runner.job.receive(0, Output(1, STDOUT, b"line\n"))
    runner.hear_and_close()
    assert capfd.readouterr().out == "[a:0] half a line\n[a:1] half a line\n"
