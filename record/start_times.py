"""How long each host took to start: what a slow launch waits for, and for whom."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from madrun.record.event import Event, Listener

_SHOWN_HOSTS = 12

# The parts of a host's start: its name, and the two events between which it lies.
PARTS = (
    ("connect", "connecting", "connected"),
    ("log in", "connected", "logged_in"),
    ("agent", "asked", "agent_key"),
    ("check in", "agent_key", "check_in"),
    ("start", "go", "started"),
)
AGENT_ITSELF = "import"  # of ``agent``, what passed on the node itself, as the agent says


class HostStart(NamedTuple):
    """One host's part in the start; ``parts`` in seconds, ``ready`` seconds after the first."""

    host: str
    ready: float
    parts: dict[str, float]


class StartTimes:
    """Listens to the events; ``tell`` gets its sum, ``show`` the lines for the user."""

    def __init__(
        self,
        hosts: Sequence[str],
        tell: Listener = lambda event: None,
        show: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._hosts, self._tell, self._show = hosts, tell, show
        self._began = 0.0
        self._at: dict[str, dict[str, float]] = {host: {} for host in hosts}
        self._ages: dict[str, float] = {}
        self._silent = set(hosts)
        self._is_starting = False

    def take(self, event: Event) -> None:
        """Note when a host came how far."""
        name, at, fields = event
        if name == "begin":
            self._began = at
        elif name == "state":
            self._state(fields["state"], at)
        elif "host" in fields:
            self._of_host(fields["host"], name, at, fields)

    def _of_host(self, host: str, name: str, at: float, fields: dict[str, Any]) -> None:
        self._at[host].setdefault(fields["step"] if name == "step" else name, at)
        if name == "hello":
            self._ages[host] = fields["age"]
        elif name == "first_output" and host in self._silent:
            self._silent.discard(host)
            if not self._silent:
                seconds = at - self._began
                self._show(
                    f"madrun: every host has written something, {host} last: {seconds:.2f} s"
                )

    def _state(self, state: str, at: float) -> None:
        if state == "starting":
            self._is_starting = True
            for host in self._hosts:
                self._at[host]["go"] = at
        elif self._is_starting:  # they run; of a short job, some have ended already
            self._is_starting = False
            rows = host_starts(self._at, self._ages, self._began)
            seconds = at - self._began
            self._tell(Event("startup", at, as_fields(rows, seconds)))
            self._show(table(rows, seconds, whole=all("started" in at for at in self._at.values())))


def host_starts(
    times: dict[str, dict[str, float]], ages: dict[str, float], began: float
) -> list[HostStart]:
    """The parts of each host's start, the slowest host first."""
    rows = []
    for host, at in times.items():
        parts = {
            name: round(at[end] - at[start], 3)
            for name, start, end in PARTS
            if start in at and end in at
        }
        if ages.get(host):
            parts[AGENT_ITSELF] = ages[host]
        rows.append(HostStart(host, round(at.get("check_in", began) - began, 3), parts))
    return sorted(rows, key=lambda row: -row.ready)


def as_fields(rows: Sequence[HostStart], seconds: float) -> dict[str, Any]:
    """The same as plain data, for the record."""
    hosts = [{"host": row.host, "ready": row.ready, **row.parts} for row in rows]
    return {"seconds": round(seconds, 3), "slowest": rows[0].host, "hosts": hosts}


def table(rows: Sequence[HostStart], seconds: float, whole: bool = True) -> str:
    """What ``--verbose`` shows once all workers run; only the slowest hosts where there are many.

    >>> print(table([HostStart("b", 0.52, {"connect": 0.01, "log in": 0.2}),
    ...              HostStart("a", 0.4, {"check in": 0.1})], 0.61))
    madrun: all workers run after 0.61 s; the slowest host was b: ready after 0.52 s
        host  ready  connect  log in  check in
        b      0.52     0.01    0.20         -
        a      0.40        -       -      0.10
    """
    slowest = rows[0]
    lines = [
        f"madrun: {'all workers run' if whole else 'the start was cut short'} "
        f"after {seconds:.2f} s; "
        f"the slowest host was {slowest.host}: ready after {slowest.ready:.2f} s"
    ]
    order = ("connect", "log in", "agent", AGENT_ITSELF, "check in", "start")
    columns = [name for name in order if any(name in row.parts for row in rows)]
    width = max(4, *(len(row.host) for row in rows[:_SHOWN_HOSTS]))
    lines.append(f"    {'host':<{width}}  ready" + "".join(f"  {name}" for name in columns))
    for row in rows[:_SHOWN_HOSTS]:
        cells = [
            f"  {row.parts[name]:{len(name)}.2f}" if name in row.parts else f"  {'-':>{len(name)}}"
            for name in columns
        ]
        lines.append(f"    {row.host:<{width}}  {row.ready:5.2f}" + "".join(cells))
    if len(rows) > _SHOWN_HOSTS:
        lines.append(f"    and {len(rows) - _SHOWN_HOSTS} quicker hosts")
    return "\n".join(lines)
