"""Objects of a kind as they come, change and go, whatever becomes of the connection."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from madrun.backends.kubernetes.api import Api, ApiError, Object, UnreachableError

_WATCH = 300  # seconds of one watch; bookmarks and changes come meanwhile, or nothing
_SILENCE = _WATCH + 30.0
_PAUSE, _LONGEST_PAUSE = 0.5, 5.0  # seconds after a failure
_GONE = 410


class Watch:
    """Calls ``on_change(object, gone)`` for each change, first for all that is there.

    What was there before and is not any more, after a time without a connection, is told as gone.
    ``on_trouble(error)`` is told where the server refuses for good, and the watch ends. Both are
    called on the watch's own thread.
    """

    def __init__(
        self,
        api: Api,
        path: str,
        query: Mapping[str, str],
        on_change: Callable[[Object, bool], None],
        on_trouble: Callable[[ApiError], None],
    ) -> None:
        self._api, self._path, self._query = api, path, dict(query)
        self._on_change, self._on_trouble = on_change, on_trouble
        self._known: dict[str, Object] = {}
        self._version = ""
        self._closed = threading.Event()
        self._answer: Any = None
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def start(self) -> None:
        """Begin; returns at once."""
        self._thread.start()

    def close(self) -> None:
        """Tell no more; the thread ends by itself."""
        self._closed.set()

    def _run(self) -> None:
        pause = _PAUSE
        while not self._closed.is_set():
            try:
                self._step()
                pause = _PAUSE
            except UnreachableError:
                self._closed.wait(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
            except ApiError as error:
                if error.status == _GONE or error.status == 429 or error.status >= 500:
                    self._version = ""
                    self._closed.wait(pause)
                    continue
                self._on_trouble(error)
                return

    def _step(self) -> None:
        """List where nothing is known, then watch until the connection ends."""
        if not self._version:
            self._list()
        query = self._query | {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": self._version,
            "timeoutSeconds": str(_WATCH),
        }
        answer = self._api.stream(self._path, query, _SILENCE)
        try:
            for event in _lines(answer):
                if self._closed.is_set():
                    return
                self._take(event)
        finally:
            answer.close()

    def _list(self) -> None:
        found = self._api.request("GET", self._path, query=self._query)
        there = {each["metadata"]["uid"]: each for each in found.get("items") or ()}
        for uid in self._known.keys() - there.keys():
            self._tell(self._known[uid], gone=True)
        for each in there.values():
            self._tell(each, gone=False)
        self._known = there
        self._version = found["metadata"]["resourceVersion"]

    def _take(self, event: Object) -> None:
        kind, content = event["type"], event["object"]
        if kind == "ERROR":
            status = int(content.get("code", 500))
            raise ApiError(status, content.get("reason", ""), content.get("message", ""))
        self._version = content["metadata"]["resourceVersion"]
        if kind == "BOOKMARK":
            return
        uid = content["metadata"]["uid"]
        if kind == "DELETED":
            self._known.pop(uid, None)
        else:
            self._known[uid] = content
        self._tell(content, gone=kind == "DELETED")

    def _tell(self, content: Object, gone: bool) -> None:
        if not self._closed.is_set():
            self._on_change(content, gone)


def _lines(answer: Any) -> Iterator[Object]:
    """The events of an answer; raises UnreachableError where it breaks."""
    import urllib3

    rest = b""
    try:
        for data in answer.stream(None):
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                if line:
                    yield json.loads(line)
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise UnreachableError(str(error)) from None
