"""One event of a job: named, timed, plain data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple


class Event(NamedTuple):
    """One event; ``at`` in monotonic seconds of the runner."""

    name: str
    at: float
    fields: dict[str, Any]


Listener = Callable[[Event], None]
