"""Whether pod 0 is reached; and where it is not, whether it or the API server is to blame."""

from __future__ import annotations

from collections.abc import Callable

from madrun.system.errors import ClusterError
from madrun.system.loop import Loop

_FIRST_LOOK = 10.0  # seconds after a connection broke
_SECOND_LOOK = 5.0  # after an API server has answered: connections come back a moment after it


class Reach:
    """Told of each connection that is made or fails; on the loop.

    ``ask`` asks the API server for the pods, and raises ClusterError while it is away: that is
    waited for. Where it answers twice and the connection is not back, ``on_lost`` is called.
    """

    def __init__(self, loop: Loop, ask: Callable[[], None], on_lost: Callable[[], None]) -> None:
        self._loop, self._ask, self._on_lost = loop, ask, on_lost
        self.is_up = self.has_been_up = False
        self.problem = ""  # of the last connection that failed
        self._is_looking = self._has_answered = False

    def link_is(self, up: bool, reason: str) -> None:
        """A connection to pod 0 was made, or has failed."""
        self.is_up, self.problem = up, reason
        self.has_been_up = self.has_been_up or up
        if up:
            self._has_answered = False
        if self.has_been_up and not up and not self._is_looking:
            self._is_looking = True
            self._loop.call_later(_FIRST_LOOK, self._look)

    def _look(self) -> None:
        if self.is_up:
            self._is_looking = False
            return
        try:
            self._ask()
        except ClusterError:
            self._has_answered = False
            self._loop.call_later(_FIRST_LOOK, self._look)
            return
        if self._has_answered:
            self._on_lost()
            return
        self._has_answered = True
        self._loop.call_later(_SECOND_LOOK, self._look)
