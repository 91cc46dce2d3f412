"""One event of a job: named, timed, plain data; and what can have ended a job."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Any, NamedTuple


class OutcomeKind(enum.Enum):
    """What ended a job; the values stand in its record (docs/record.md)."""

    SUCCESS = "success"
    WORKER = "worker"
    HOST = "host"
    TOOL = "tool"
    LAUNCH = "launch"
    SIGNAL = "signal"
    GUARD = "guard"
    CORE = "core"
    UNKNOWN = "unknown"


class Event(NamedTuple):
    """One event; ``at`` in monotonic seconds of the runner."""

    name: str
    at: float
    fields: dict[str, Any]


Listener = Callable[[Event], None]
