"""How often the kernel has killed for want of memory: in our own cgroup, and on the whole host.

Counters, because they need no right to read the kernel's log, and because they are raised before
the victim gets its signal: whoever sees the death sees the count.
"""

from __future__ import annotations

import contextlib
import os
from typing import NamedTuple

_COUNTERS = ("memory.events", "memory.oom_control")  # cgroup v2, v1; both have a line oom_kill
_LIMITS = ("memory.max", "memory.limit_in_bytes")
_NO_LIMIT = 1 << 60  # v1 shows "no limit" as a number near 2**63


class Kills(NamedTuple):
    """Out-of-memory kills since the snapshot; None: not known here."""

    group: int | None
    host: int | None


class MemoryKills:
    """A snapshot of the counters at its construction; ``root`` is where /proc and /sys are."""

    def __init__(self, root: str = "/") -> None:
        self._root = root
        self._groups = memory_groups(root)
        self._before = self._counts()

    def since(self) -> Kills:
        """What was added since the snapshot."""
        pairs = zip(self._before, self._counts(), strict=True)
        group, host = (None if a is None or b is None else b - a for a, b in pairs)
        return Kills(group, host)

    def limit(self) -> int:
        """The smallest memory limit of our cgroup and those above it, in bytes; 0: none is seen."""
        limits = [_number(os.path.join(each, name)) for each in self._groups for name in _LIMITS]
        return min((limit for limit in limits if limit and limit < _NO_LIMIT), default=0)

    def _counts(self) -> Kills:
        # The nearest cgroup that has the memory controller is the one that is charged.
        files = [os.path.join(each, name) for each in self._groups for name in _COUNTERS]
        counts = (_count(path) for path in files)
        group = next((count for count in counts if count is not None), None)
        return Kills(group, _count(os.path.join(self._root, "proc/vmstat")))


def memory_groups(root: str) -> list[str]:
    """The folders of our own memory cgroup and of those above it, as far as they are seen here."""
    own: dict[str, str] = {}
    for line in _lines(os.path.join(root, "proc/self/cgroup")):
        _, controllers, path = line.split(":", 2)
        if not controllers or "memory" in controllers.split(","):
            own["cgroup" if controllers else "cgroup2"] = path
    found: dict[str, list[str]] = {}
    for line in _lines(os.path.join(root, "proc/self/mountinfo")):
        mount, _, kind = line.partition(" - ")
        fs, _, options = kind.split(" ", 2)
        if fs in own and (fs == "cgroup2" or "memory" in options.split(",")):
            top, point = mount.split()[3:5]
            found[fs] = _upwards(os.path.join(root, point.lstrip("/")), _below(own[fs], top))
    return found.get("cgroup") or found.get("cgroup2") or []


def _below(path: str, top: str) -> str:
    """A cgroup as seen from the cgroup that is mounted; in a container that is its own."""
    top = top.rstrip("/")
    return path[len(top) :].strip("/") if f"{path}/".startswith(f"{top}/") else ""


def _upwards(point: str, path: str) -> list[str]:
    names = [name for name in path.split("/") if name not in ("", "..")]
    return [os.path.join(point, *names[:depth]) for depth in range(len(names), -1, -1)]


def _lines(path: str) -> list[str]:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read().splitlines()
    except OSError:
        return []


def _count(path: str) -> int | None:
    for line in _lines(path):
        if line.startswith("oom_kill "):
            with contextlib.suppress(ValueError):
                return int(line.split()[1])
    return None


def _number(path: str) -> int:
    first = "".join(_lines(path)[:1])
    return int(first) if first.isdecimal() else 0
