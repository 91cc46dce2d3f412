"""Waiting for processes to end: the kernel tells it, by their pidfds."""

from __future__ import annotations

import contextlib
import os
import select
import time
from collections.abc import Callable, Iterable, Iterator, Sequence

from support.programs import PATIENCE
from testbed.processes import Process


def gone(look: Callable[[], list[Process]], patience: float = PATIENCE) -> list[Process]:
    """What LOOK finds still after so many seconds; empty as soon as it finds nobody."""
    deadline = time.monotonic() + patience
    while (left := look()) and time.monotonic() < deadline:
        first_end(left, deadline)
    return left


def first_end(watched: Sequence[Process], deadline: float) -> None:
    """Until one of them has ended (a zombie has), or the monotonic time has come."""
    with _pidfds(watched) as fds:
        if len(fds) == len(watched):
            select.select(fds, [], [], max(0.0, deadline - time.monotonic()))


@contextlib.contextmanager
def _pidfds(watched: Iterable[Process]) -> Iterator[list[int]]:
    """A descriptor for each that is still there."""
    fds: list[int] = []
    try:
        for each in watched:
            with contextlib.suppress(ProcessLookupError):
                fds.append(os.pidfd_open(each.outer_pid))
        yield fds
    finally:
        for fd in fds:
            os.close(fd)
