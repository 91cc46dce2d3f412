"""One worker as the agent sees it: its plan, its process, its two streams, its end."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from madrun.agent.outflow import Outflow
from madrun.agent.output import Stream, log_name, open_pipe
from madrun.agent.spawn import spawn
from madrun.launchers.plan import ProcessPlan
from madrun.system.exits import exit_words
from madrun.system.kernel import catches
from madrun.system.programs import find_program
from madrun.wire.messages import STDERR, STDOUT, Exited


class Worker:
    """Runs from its construction on; ``env`` is the whole environment it gets.

    Raises OSError where the program cannot be executed.
    """

    def __init__(
        self,
        plan: ProcessPlan,
        env: Mapping[str, str],
        outflow: Outflow | None,
        log_dir: str,
        cores: Sequence[int],
        takes_input: bool = False,
        must_log: bool = True,
        *,
        log_limit: int = 0,
    ) -> None:
        self.plan = plan
        self.status: int | None = None
        path = find_program(plan.argv[0], env, plan.cwd)
        stdin, self.stdin = _open_stdin(takes_input)
        ends = [stdin]
        opened: list[Stream] = []
        try:
            for number in (STDOUT, STDERR):
                read, write = open_pipe()
                ends.append(write)
                log_path = _log_path(log_dir, plan.rank, number)
                opened.append(
                    Stream(
                        read, plan.rank, number, outflow, log_path, must_log, log_limit=log_limit
                    )
                )
            self.pid = spawn(path, plan.argv, env, plan.cwd, (ends[0], ends[1], ends[2]), cores)
        except BaseException:
            for stream in opened:
                stream.close()
            if self.stdin >= 0:
                os.close(self.stdin)
            raise
        finally:
            for fd in ends:
                os.close(fd)
        self.streams = (opened[0], opened[1])

    def __repr__(self) -> str:
        state = "running" if self.status is None else exit_words(self.status)
        return f"<Worker rank {self.plan.rank}: {state}>"

    def signal(self, number: int) -> None:
        """Send a signal to the worker itself, unless it would end by it: a new one may not have
        its handler yet. It has not been reaped, so its id is its own."""
        if self.status is None and catches(self.pid, number):
            os.kill(self.pid, number)

    def exited(self, status: int, at: float, ended: bool) -> Exited:
        """The worker is gone: the message that says so."""
        self.status = status
        return self.last_words(status, at, ended)

    def last_words(self, status: int, at: float, ended: bool = False) -> Exited:
        """The message of its end, also of one that still runs and is given up."""
        out, err = self.streams
        for stream in self.streams:
            stream.drain()
            stream.flush()
        tail = err.tail if err.tail.strip() else out.tail
        problems = [stream.log_problem for stream in self.streams if stream.log_problem]
        return Exited(
            rank=self.plan.rank,
            pid=self.pid,
            status=status,
            at=at,
            ended=ended,
            device=self.plan.device,
            tail=tail,
            log=err.log_path if err.tail.strip() else out.log_path,
            log_trouble="; ".join(problems),
        )


def _open_stdin(takes_input: bool) -> tuple[int, int]:
    """What the worker reads from, and our end of it: a pipe, or nothing at all and -1."""
    if not takes_input:
        return os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC), -1
    read, write = os.pipe2(os.O_CLOEXEC)
    os.set_blocking(write, False)
    return read, write


def _log_path(log_dir: str, rank: int, stream: int) -> str:
    return os.path.join(log_dir, log_name(rank, stream)) if log_dir else ""
