"""Jobs as tests run them: started on the hosts, watched line by line, faulted, waited for."""

from __future__ import annotations

import os
import re
import selectors
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from subprocess import Popen
from typing import IO

from support import ends
from support.cluster import BIN, Cluster
from support.programs import PATIENCE
from testbed.processes import Process

TESTS = Path(__file__).parent.parent
WORKER = TESTS / "payloads" / "worker.py"
EXAMPLES = TESTS.parent / "examples"


class Running:
    """A madrun, or another program, that runs on the head."""

    def __init__(
        self,
        cluster: Cluster,
        args: Sequence[str | os.PathLike[str]],
        program: str | os.PathLike[str] = BIN / "madrun",
    ) -> None:
        self.cluster = cluster
        self.process: Popen[str] = cluster.popen("head", [program, *args])
        self.stdout = self.stderr = ""
        self._selector = selectors.DefaultSelector()
        for name in ("stdout", "stderr"):
            stream: IO[str] = getattr(self.process, name)
            os.set_blocking(stream.fileno(), False)
            self._selector.register(stream.fileno(), selectors.EVENT_READ, name)

    def until(self, pattern: str, count: int = 1, patience: float = PATIENCE) -> list[str]:
        """Read until a pattern was seen so often on stdout or stderr; the matches."""
        deadline = time.monotonic() + patience
        while len(found := re.findall(pattern, self.stdout + self.stderr)) < count:
            if not self._read(deadline):
                raise AssertionError(
                    f"{pattern!r} was seen {len(found)} times, not {count}:\n"
                    f"{self.stdout}\n{self.stderr}"
                )
        return found

    def up(self, workers: int) -> None:
        """Wait until so many workers are up."""
        self.until(r"up \d+", workers)

    def wait(self) -> int:
        """Read to the end; the exit status."""
        deadline = time.monotonic() + PATIENCE
        while self._read(deadline):
            pass
        status = self.process.wait(PATIENCE)
        for stream in (self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()
        return status

    def lives_for(self, seconds: float) -> bool:
        """Read for so long; True where it has not ended by then."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if not self._read(deadline) and not self._selector.get_map():
                return False
        return self.process.poll() is None

    def wait_however_stopped(self) -> int:
        """Like wait; what the user started may itself be stopped, and is continued at the end."""
        deadline = time.monotonic() + PATIENCE
        while self.process.poll() is None and time.monotonic() < deadline:
            self._read(time.monotonic() + 0.05)
            if self.process.poll() is None and self._is_stopped_alone():
                self.signal(signal.SIGCONT)
        return self.wait()

    def _is_stopped_alone(self) -> bool:
        """True where nothing of the job runs any more but what is stopped."""
        left = of_the_job(self.cluster)
        return bool(left) and all(each.state == "T" for each in left)

    def signal(self, number: int) -> None:
        """A signal to the process that the user's shell started."""
        self.cluster.signal(self.process, number)

    def _read(self, deadline: float) -> bool:
        """Take what comes next; False at the end of both streams or of our patience."""
        if not self._selector.get_map() or time.monotonic() > deadline:
            return False
        for key, _ in self._selector.select(max(0.0, deadline - time.monotonic())):
            data = os.read(key.fd, 65536)
            if not data:
                self._selector.unregister(key.fd)
            text = data.decode(errors="replace")
            setattr(self, key.data, getattr(self, key.data) + text)
        return True


def agents(cluster: Cluster, host: str) -> tuple[Process, Process]:
    """Guard and core of the agent on a host."""
    found = [each for each in cluster.processes(host) if "madrun.agent" in each.argv]
    guard, _reaper, core = guard_first(found)
    return guard, core


def guard_first(found: list[Process]) -> list[Process]:
    """Guard, reaper and core of one agent or runner, as far as they are there: by descent."""
    inner = {each.pid: each for each in found}

    def depth(process: Process) -> int:
        return depth(inner[process.ppid]) + 1 if process.ppid in inner else 0

    return sorted(found, key=depth)


def workers(cluster: Cluster, host: str) -> list[Process]:
    """The workers that run worker.py on a host."""
    return [each for each in cluster.processes(host) if str(WORKER) in each.argv]


def of_the_job(cluster: Cluster) -> list[Process]:
    """Every process of a job on any host: agents, workers, their daemons, the runner."""
    marks = {"madrun.agent", str(BIN / "madrun"), str(WORKER), "sleep"}
    return [each for each in cluster.processes() if each.state != "Z" and marks & {*each.argv}]


def nothing_left(cluster: Cluster, *hosts: str, but: str = "") -> None:
    """What is left of jobs on these hosts, on all where none is named, goes by itself."""

    def look() -> list[Process]:
        found = of_the_job(cluster)
        return [each for each in found if each.host != but and (not hosts or each.host in hosts)]

    assert ends.gone(look) == []
