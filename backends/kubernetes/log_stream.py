"""The log of pod 0 as the way of a job's output, where nobody may be attached to the pod.

Kubernetes ends a followed log cleanly whatever has happened, and takes a time to begin from in
whole seconds only: so each line comes with its time, and what was seen is left out.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

from madrun.backends.kubernetes.api import Api, ApiError, UnreachableError
from madrun.system.errors import ClusterError

_SILENCE = 3600.0  # seconds without a line
_PAUSE = 0.5  # seconds until a log is asked for again
_LAST_LINES = 5


def last_lines(api: Api, pod: str) -> tuple[str, ...]:
    """The end of a pod's log; empty where it cannot be had."""
    query = {"container": "main", "tailLines": str(_LAST_LINES)}
    try:
        with api.stream(api.path("v1", "pods", pod) + "/log", query, 5.0) as answer:
            text: bytes = answer.read()
    except (ClusterError, OSError):
        return ()
    return tuple(text.decode(errors="replace").splitlines())


class LogStream:
    """``on_line`` gets each line once, with its end; ``on_end`` is called after the last one.

    Both on the stream's own thread. ``is_over`` says whether the pod has ended, so that nothing
    more will come.
    """

    def __init__(
        self,
        api: Api,
        pod: str,
        on_line: Callable[[bytes], None],
        on_end: Callable[[], None],
        is_over: Callable[[], bool],
    ) -> None:
        self._api, self._path = api, api.path("v1", "pods", pod) + "/log"
        self._on_line, self._on_end, self._is_over = on_line, on_end, is_over
        self._last = ""  # the time of the last line
        self._seen = 0  # lines of that time
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)

    def start(self) -> None:
        """Follow; returns at once."""
        self._thread.start()

    def close(self) -> None:
        """Tell nothing more."""
        self._closed.set()

    def _run(self) -> None:
        is_over = False
        while not self._closed.is_set() and not is_over:
            is_over = self._is_over()  # asked before: then what follows is all there is
            try:
                self._follow()
            except ApiError as error:
                is_over = is_over or error.status == 404  # the pod is gone
            except UnreachableError:
                is_over = False  # the API server is waited for
            if not is_over:
                self._closed.wait(_PAUSE)
        if not self._closed.is_set():
            self._on_end()

    def _follow(self) -> None:
        query = {"follow": "true", "timestamps": "true", "container": "main"}
        if self._last:
            query["sinceTime"] = self._last
        answer = self._api.stream(self._path, query, _SILENCE)
        try:
            again = 0  # lines of the last time that come again
            for line in _lines(answer):
                time, _, text = line.partition(b" ")
                stamp = time.decode(errors="replace")
                if _key(stamp) < _key(self._last):
                    continue
                if stamp == self._last and again < self._seen:
                    again += 1
                    continue
                if stamp != self._last:
                    self._last, self._seen = stamp, 0
                    again = 0
                self._seen += 1
                again += 1
                if self._closed.is_set():
                    return
                self._on_line(text)
        finally:
            answer.close()


def _key(stamp: str) -> tuple[str, str]:
    """A time as it sorts: its fraction has no zeros at the end.

    >>> _key("2026-11-21T17:18:05.1Z") > _key("2026-11-21T17:18:05.09Z")
    True
    """
    whole, _, fraction = stamp.rstrip("Z").partition(".")
    return whole, fraction.ljust(9, "0")


def _lines(answer: Any) -> Iterator[bytes]:
    """Lines with their ends; the last one may have none. Raises UnreachableError."""
    import urllib3

    rest = b""
    try:
        for data in answer.stream(None):
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                yield line + b"\n"
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise UnreachableError(str(error)) from None
    if rest:
        yield rest
