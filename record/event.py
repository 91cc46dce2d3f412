"""One event of a job: named, timed, plain data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple


class Happened(NamedTuple):
    """One event; ``at`` in monotonic seconds of the runner."""

    name: str
    at: float
    facts: dict[str, Any]


Listener = Callable[[Happened], None]
