"""A job of victims on the hosts, under any launcher, and when its processes end.

The kernel tells it, by a pidfd for each process, to us who look at the hosts from outside.
"""

from __future__ import annotations

import contextlib
import math
import os
import select
import shutil
import signal
import time
from collections.abc import Iterable
from subprocess import DEVNULL, Popen, TimeoutExpired

from support import orphans
from support.cluster import Cluster
from support.faults import guard_and_core
from testbed.processes import Process

START_LIMIT = 90.0


class Watch:
    """Processes, and when each of them ended."""

    def __init__(self, watched: Iterable[Process]) -> None:
        self._poll = select.poll()
        self._left: dict[int, Process] = {}
        self.ends: dict[Process, float] = {}
        for each in watched:
            fd = os.pidfd_open(each.outer_pid)
            self._left[fd] = each
            self._poll.register(fd, select.POLLIN)

    def wait(self, deadline: float) -> None:
        """Until all have ended, or the monotonic time has come."""
        while self._left and (rest := deadline - time.monotonic()) > 0:
            for fd, _ in self._poll.poll(rest * 1000):
                self.ends[self._left.pop(fd)] = time.monotonic()
                self._poll.unregister(fd)
                os.close(fd)

    def close(self) -> None:
        """Look no longer."""
        for fd in self._left:
            os.close(fd)

    def last(self, of: Iterable[Process], begin: float) -> float:
        """Seconds until the last of these had ended; infinity where one has not."""
        return max((self.ends.get(each, math.inf) - begin for each in of), default=0.0)


class WatchedJob:
    """A job of victims under some launcher, which are all up."""

    def __init__(self, cluster: Cluster, argv: list[str], workers: int) -> None:
        self.cluster = cluster
        for name in ("up", "term"):
            shutil.rmtree(cluster.share / name, ignore_errors=True)
            (cluster.share / name).mkdir()
        self._oracle = orphans.Oracle.now(cluster)
        self._said = cluster.share / "launcher.err"
        with self._said.open("w") as said:
            self.process: Popen[str] = cluster.popen("head", argv, stdout=DEVNULL, stderr=said)
        try:
            self._wait_up(workers)
        except BaseException:
            self.close()
            raise
        there = self._oracle.newcomers()
        places = {path.read_text() for path in (cluster.share / "up").iterdir()}
        self.victims = [each for each in there if f"{each.host} {each.pid}" in places]
        self.rest = [each for each in there if each not in self.victims and each.host != "here"]
        assert len(self.victims) == workers, there

    def _wait_up(self, workers: int) -> None:
        deadline = time.monotonic() + START_LIMIT
        while len(list((self.cluster.share / "up").iterdir())) < workers:
            if time.monotonic() > deadline or self.process.poll() is not None:
                raise TimeoutError(f"the workers did not come up:\n{self._said.read_text()}")
            time.sleep(0.05)

    def on(self, host: str) -> list[Process]:
        """The workers on a host."""
        return [each for each in self.victims if each.host == host]

    def others(self, process: Process) -> list[Process]:
        """All workers but one."""
        return [each for each in self.victims if each != process]

    def agent(self, host: str) -> Process:
        """The launcher's own process on a host, the one whose death is the worst."""
        by_pid = {each.pid: each for each in self.rest if each.host == host}
        return by_pid[self.on(host)[0].ppid]

    def runner(self) -> list[Process]:
        """The process that the user started, and, of madrun, the one that works for it."""
        first = self.cluster.process(self.process)
        same = [each for each in self.rest if each.host == "head" and each.argv == first.argv]
        return guard_and_core([first, *same])

    def told(self, begin: float) -> list[float]:
        """When workers had their SIGTERM, in seconds after the fault."""
        found = (self.cluster.share / "term").iterdir()
        return [float(path.read_text()) - begin for path in found]

    def close(self) -> None:
        """End what is left, by id."""
        with contextlib.suppress(TimeoutExpired):
            self.process.wait(0.5)
        while left := self._oracle.newcomers():
            for each in left:
                if each.host != "here":
                    each.kill()
            if self.process.poll() is None:
                self.process.send_signal(signal.SIGCONT)  # nsenter stops when its program does
            time.sleep(0.02)
        self.process.wait(10)
