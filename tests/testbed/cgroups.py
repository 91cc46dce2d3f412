"""One cgroup (v2) per host, under one per cluster.

No controller is needed: the cgroup is how a whole host is frozen, and how everything of a cluster
is found and killed when nothing but the name of its folder is known.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

from testbed.kernel import TestbedError

_HYBRID = Path("/sys/fs/cgroup/unified")
ROOT = _HYBRID if _HYBRID.is_dir() else Path("/sys/fs/cgroup")
PREFIX = "testbed-"


def create(group: Path) -> None:
    """Make the cgroup, unless it is there."""
    group.mkdir(parents=True, exist_ok=True)


def join(group: Path) -> None:
    """Move the calling process into the cgroup."""
    (group / "cgroup.procs").write_text("0")


def joining(group: Path, *argv: str) -> list[str]:
    """The argv that runs ARGV inside the cgroup."""
    return ["sh", "-c", 'echo 0 >"$0" && exec "$@"', str(group / "cgroup.procs"), *argv]


def events(group: Path) -> dict[str, str]:
    """The cgroup's state, e.g. {'populated': '1', 'frozen': '0'}; empty if it does not exist."""
    try:
        text = (group / "cgroup.events").read_text()
    except OSError:
        return {}
    return dict(line.split() for line in text.splitlines())


def await_event(group: Path, key: str, value: str, limit: float = 60) -> None:
    """Wait until the cgroup, if there is one, has reached a state."""
    end = time.monotonic() + limit
    while events(group).get(key, value) != value:
        if time.monotonic() > end:
            raise TestbedError(f"{group}: {key} is not {value} after {limit:g} s")
        time.sleep(0.003)


def is_frozen(group: Path) -> bool:
    """Whether the cgroup has been told to freeze."""
    try:
        return (group / "cgroup.freeze").read_text().strip() == "1"
    except OSError:
        return False


def freeze(group: Path, on: bool) -> None:
    """Stop every process of the cgroup where it stands, or let all go on."""
    (group / "cgroup.freeze").write_text("1" if on else "0")
    await_event(group, "frozen", "1" if on else "0")


def kill(group: Path) -> None:
    """SIGKILL every process of the cgroup and of those below; return when all are gone."""
    if not group.is_dir():
        return
    for folder, _, _ in os.walk(group):
        _kill_members(Path(folder))
    await_event(group, "populated", "0")
    for folder, _, _ in os.walk(group):
        if is_frozen(Path(folder)):
            freeze(Path(folder), False)


def members(group: Path) -> list[int]:
    """The process ids in the cgroup and in those below; none where it does not exist."""
    found: list[int] = []
    for folder, _, _ in os.walk(group):
        with contextlib.suppress(OSError):
            found += map(int, Path(folder, "cgroup.procs").read_text().split())
    return found


def _kill_members(group: Path) -> None:
    button = group / "cgroup.kill"
    if button.exists():  # Linux 5.14
        button.write_text("1")
        return
    for pid in (group / "cgroup.procs").read_text().split():
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)


def remove(group: Path) -> None:
    """Remove the empty cgroup and those below."""
    for folder, _, _ in os.walk(group, topdown=False):
        _remove_one(Path(folder))


def _remove_one(group: Path) -> None:
    end = time.monotonic() + 5
    while group.exists():
        try:
            group.rmdir()
        except OSError:  # it empties a moment after its last process is gone
            if time.monotonic() > end:
                raise
            time.sleep(0.005)
