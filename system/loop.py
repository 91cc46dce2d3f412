"""One thread, one poll: descriptors, timers, posted calls and signals, all as callbacks.

The runner and the agent both live on this loop; in a one-node job they share it. It is not
asyncio because importing asyncio costs as much as everything else a start needs.
"""

from __future__ import annotations

import contextlib
import heapq
import os
import selectors
import signal
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

Callback = Callable[[], None]


class Timer:
    """A call in the future; ``cancel()`` takes it back."""

    __slots__ = ("callback", "when")

    def __init__(self, when: float, callback: Callback) -> None:
        self.when = when
        self.callback: Callback | None = callback

    def cancel(self) -> None:
        """The callback will not run, if it has not yet."""
        self.callback = None

    def __lt__(self, other: Timer) -> bool:
        return self.when < other.when


class Loop:
    """Runs callbacks on the thread that calls ``run()``. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._timers: list[Timer] = []
        self._posted: deque[Callback] = deque()
        self._signals: deque[int] = deque()
        self._on_signal: dict[int, Callable[[int], None]] = {}
        self._saved_handlers: dict[int, Any] = {}
        self._saved_wakeup: int | None = None
        self._stopped = False
        self._closed = False
        self._closing = threading.Lock()  # a late post must not write to somebody else's descriptor
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._selector.register(self._wake_read, selectors.EVENT_READ, self._drain_wakeups)

    def watch(self, fd: int, callback: Callback) -> None:
        """Call back whenever the descriptor is readable or at its end."""
        self._selector.register(fd, selectors.EVENT_READ, callback)

    def watch_writable(self, fd: int, callback: Callback) -> None:
        """Call back whenever the descriptor takes bytes, or its reader has gone."""
        self._selector.register(fd, selectors.EVENT_WRITE, callback)

    def unwatch(self, fd: int) -> None:
        """Forget the descriptor; it stays open."""
        self._selector.unregister(fd)

    def call_later(self, delay: float, callback: Callback) -> Timer:
        """Call back once, ``delay`` seconds from now."""
        timer = Timer(time.monotonic() + delay, callback)
        heapq.heappush(self._timers, timer)
        return timer

    def post(self, callback: Callback) -> None:
        """Call back soon. The one method that other threads may call; after close() a no-op."""
        self._posted.append(callback)
        with self._closing, contextlib.suppress(BlockingIOError):  # full of wake-ups: one will do
            if not self._closed:
                os.write(self._wake_write, b"\0")

    def on_signal(self, number: int, callback: Callable[[int], None]) -> None:
        """Call back on this loop for each arrival of a signal; until ``close()``."""
        if self._saved_wakeup is None:
            self._saved_wakeup = signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        # The handler only remembers; the loop acts.
        previous = signal.signal(number, lambda got, _frame: self._signals.append(got))
        self._saved_handlers.setdefault(number, previous)
        self._on_signal[number] = callback

    def stop(self) -> None:
        """``run()`` returns once the callback that runs now has returned."""
        self._stopped = True

    def run(self) -> None:
        """Call back until somebody calls ``stop()``."""
        self._stopped = False
        while self._turn():
            pass

    def close(self) -> None:
        """Give back the signal handlers and the descriptors of the loop itself."""
        if self._saved_wakeup is not None:
            signal.set_wakeup_fd(self._saved_wakeup)
        for number, handler in self._saved_handlers.items():
            signal.signal(number, handler)
        self._selector.close()
        with self._closing:
            self._closed = True
            os.close(self._wake_read)
            os.close(self._wake_write)

    def _turn(self) -> bool:
        """Everything that is due now; False once somebody has called ``stop()``."""
        self._run_signals()
        self._run_posted()
        self._run_timers()
        ready = [] if self._stopped else self._selector.select(self._patience())
        for key, _events in ready:
            # What was unwatched meanwhile, or watched anew for another, is not called.
            if not self._stopped and self._selector.get_map().get(key.fd) is key:
                key.data()
        return not self._stopped

    def _patience(self) -> float | None:
        if self._posted or self._signals:
            return 0
        while self._timers and self._timers[0].callback is None:
            heapq.heappop(self._timers)
        if not self._timers:
            return None
        return max(0.0, self._timers[0].when - time.monotonic())

    def _drain_wakeups(self) -> None:
        try:
            os.read(self._wake_read, 4096)
        except BlockingIOError:
            return

    def _run_signals(self) -> None:
        while self._signals and not self._stopped:
            number = self._signals.popleft()
            self._on_signal[number](number)

    def _run_posted(self) -> None:
        # Only those posted until now: a callback that posts itself must not starve the poll.
        for _ in range(len(self._posted)):
            if not self._stopped:
                self._posted.popleft()()

    def _run_timers(self) -> None:
        now = time.monotonic()
        while self._timers and self._timers[0].when <= now and not self._stopped:
            callback = heapq.heappop(self._timers).callback
            if callback is not None:
                callback()
