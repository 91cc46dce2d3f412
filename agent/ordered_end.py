"""Ending a node's processes in their order: the runner says up to which, for all nodes at once.

There is one grace for all of them together. A step that takes more than half of what is left of it
is not waited for any longer, so that those who come last are told as well.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping

from madrun.agent.tree import Ending
from madrun.agent.worker import Worker
from madrun.system.loop import Loop, Timer
from madrun.wire.messages import LAST, Drained, Message


class OrderedEnd:
    """The order in which the workers of one node are told to end."""

    def __init__(
        self,
        loop: Loop,
        ending: Ending,
        workers: Mapping[int, Worker],
        send: Callable[[Message], None],
    ) -> None:
        self._loop, self._ending, self._workers, self._send = loop, ending, workers, send
        self._upto = LAST
        self._timer: Timer | None = None

    def end(self, grace: float, upto: int, first: int = signal.SIGTERM) -> None:
        """End all whose stop order is at most ``upto``; all there are, where these are the last."""
        left = self._left()
        told = [worker for worker in left if worker.plan.stop_order <= upto]
        if self._timer is not None:
            self._timer.cancel()
        if len(told) == len(left) or grace <= 0:
            self._upto = LAST
            self._ending.begin(grace, first)
            return
        self._upto = upto
        self._ending.begin_with([worker.pid for worker in told], grace, first)
        self._timer = self._loop.call_later(self._ending.rest / 2, self._tell)
        self.check()

    def check(self) -> None:
        """Call it after every reaped child: when a step is done, the runner is told."""
        left = self._left()
        if self._upto < LAST and all(worker.plan.stop_order > self._upto for worker in left):
            self._tell()

    def _left(self) -> list[Worker]:
        return [worker for worker in self._workers.values() if worker.status is None]

    def _tell(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        later = [each.plan.stop_order for each in self._left()]
        following = min((order for order in later if order > self._upto), default=LAST)
        self._upto = LAST
        self._send(Drained(following))
