"""How many files this process may open: as many as the system allows, and its children as before.

A runner holds some three descriptors for each host, an agent some five for each worker, and the
usual soft limit is 1024. It is raised for us alone: a program that was built for descriptors
below 1024 (select(2)) must not get others because of us.
"""

from __future__ import annotations

import contextlib
import resource

_ENOUGH = 1 << 20  # some systems allow thousands of millions, which nobody needs
_inherited: tuple[int, int] | None = None


def raise_limit() -> int:
    """Raise the soft limit to the hard one, at most a million; returns what it is now."""
    global _inherited  # the process has one limit, and one that it was given
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(hard, _ENOUGH) if hard != resource.RLIM_INFINITY else _ENOUGH
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return wanted
    with contextlib.suppress(OSError, ValueError):  # a sandbox may forbid it
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        _inherited = _inherited or (soft, hard)
        return wanted
    return soft


def give_back_limit(pid: int = 0) -> None:
    """Give a child the limit that we were given: this process itself, after a fork, or another."""
    if _inherited is not None:
        with contextlib.suppress(OSError):  # it has ended already
            resource.prlimit(pid, resource.RLIMIT_NOFILE, _inherited)
