"""The ports that nodes started by hand count on: they do not meet, and nobody tells them others."""

from __future__ import annotations

from collections.abc import Callable

from madrun.launchers.registry import find
from madrun.record.event import Event
from madrun.wire.jobspec import JobSpec


class UsualPorts:
    """Listens to the events; ``show`` gets a line for each of this node's ports that is taken."""

    def __init__(self, spec: JobSpec, node_rank: int, show: Callable[[str], None]) -> None:
        self._wishes, self._show = find(spec.launcher).ports(spec, node_rank), show

    def take(self, event: Event) -> None:
        """Compare what the agent holds with what the others expect."""
        held = event.fields["ports"] if event.name == "check_in" else ()
        for wish, number in zip(self._wishes, held, strict=False):
            if wish.number != number:
                self._show(
                    f"madrun: {wish.name} {wish.number} is taken on {event.fields['host']}, "
                    "and the other nodes, started by hand, count on it"
                )
