"""Who runs where: read from outside, in /proc."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from testbed import cgroups

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


@dataclass(frozen=True)
class Process:
    """A process as its own host sees it (pid, ppid, sid), and its pid outside.

    `started` is in clock ticks since boot: with the outer pid it names a process for ever.
    """

    host: str
    pid: int
    outer_pid: int
    started: int
    ppid: int = field(compare=False)
    sid: int = field(compare=False)
    state: str = field(compare=False)
    argv: tuple[str, ...] = field(compare=False)
    environ: Mapping[str, str] | None = field(compare=False, repr=False)

    @property
    def cmdline(self) -> str:
        """The argv for people to read."""
        return " ".join(self.argv)

    def __str__(self) -> str:
        return f"{self.host}: pid {self.pid} (outer {self.outer_pid}, {self.state}): {self.cmdline}"

    def kill(self) -> None:
        """SIGKILL this very process, if it is still there."""
        try:
            descriptor = os.pidfd_open(self.outer_pid)
        except ProcessLookupError:
            return
        try:
            if read(self.outer_pid, self.host) == self:
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        except ProcessLookupError:
            pass
        finally:
            os.close(descriptor)


def of_host(host: str, group: Path, namespace: str) -> list[Process]:
    """All processes of a host: those of its cgroup that are in its pid namespace.

    What enters a host is in its cgroup before; it is not in its pid namespace until later.
    """
    found = []
    for pid in cgroups.members(group):
        try:
            is_inside = os.readlink(f"/proc/{pid}/ns/pid") == namespace
        except OSError:
            continue
        if is_inside:
            found.append(read(pid, host))
    return _known(found)


def descendants(root: int, host: str = "here") -> list[Process]:
    """The children of a process, and theirs, in all pid namespaces."""
    found, todo = [], [root]
    while todo:
        born = children(todo.pop(), host)
        found += born
        todo += [each.outer_pid for each in born]
    return found


def children(pid: int, host: str = "here") -> list[Process]:
    """The children of a process."""
    return _known(read(child, host) for child in _child_pids(pid))


def _known(found: Iterable[Process | None]) -> list[Process]:
    return [process for process in found if process is not None]


def _child_pids(pid: int) -> list[int]:
    """The children of all threads of a process (Linux, CONFIG_PROC_CHILDREN)."""
    found: list[int] = []
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            text = Path(f"/proc/{pid}/task/{task}/children").read_text()
            found += map(int, text.split())
    except (FileNotFoundError, ProcessLookupError):  # it is gone, and so has no children
        pass
    return found


def read(pid: int, host: str) -> Process | None:
    """The process with that outer pid, if there is one."""
    folder = Path(f"/proc/{pid}")
    try:
        stat = (folder / "stat").read_bytes().decode(errors="replace")
        status = (folder / "status").read_bytes().decode(errors="replace")
        argv = (folder / "cmdline").read_bytes().decode(errors="surrogateescape")
    except (FileNotFoundError, ProcessLookupError):
        return None
    name, fields = stat.partition("(")[2].rpartition(") ")[::2]
    numbers = fields.split()
    inner = dict(line.split(":\t", 1) for line in status.splitlines() if line.startswith("NS"))
    return Process(
        host=host,
        pid=_innermost(inner["NSpid"]),
        outer_pid=pid,
        started=int(numbers[19]),
        ppid=_inner_parent(int(numbers[1]), len(inner["NSpid"].split())),
        sid=_innermost(inner["NSsid"]),
        state=numbers[0],
        argv=tuple(argv.split("\0")[:-1]) or (f"[{name}]",),
        environ=_environ(folder),
    )


def _innermost(pids: str) -> int:
    return int(pids.split()[-1])


def _inner_parent(pid: int, depth: int) -> int:
    """The parent's pid in the namespace of its child, which is DEPTH deep; 0 if it is not there."""
    try:
        status = Path(f"/proc/{pid}/status").read_bytes().decode(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return 0
    pids = status.partition("\nNSpid:")[2].partition("\n")[0].split()
    return int(pids[-1]) if len(pids) == depth else 0


def _environ(folder: Path) -> dict[str, str] | None:
    try:
        text = (folder / "environ").read_bytes().decode(errors="surrogateescape")
    except OSError:
        return None
    return dict(entry.split("=", 1) for entry in text.split("\0") if "=" in entry)
