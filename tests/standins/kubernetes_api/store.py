"""Objects with versions, and what has happened to them."""

from __future__ import annotations

import copy
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

Object = dict[str, Any]
Key = tuple[str, str, str]  # resource, namespace, name


def now() -> str:
    """As Kubernetes writes the time."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


class StatusError(Exception):
    """An answer of status 400 and more."""

    def __init__(self, code: int, reason: str, message: str, **details: Any) -> None:
        super().__init__(message)
        self.code = code
        self.body = {
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": message, "reason": reason, "details": details, "code": code,
        }  # fmt: skip


class Store:
    """All objects; every change wakes those who watch."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self._objects: dict[Key, Object] = {}
        self._events: list[tuple[int, Key, str, Object]] = []
        self.version = 100
        self.oldest = 100  # older versions are too old
        self.listeners: list[Callable[[str, str, Object], None]] = []

    def create(self, resource: str, item: Object) -> Object:
        """Add an object; 409 where there is one."""
        metadata = item["metadata"]
        with self.changed:
            if "name" not in metadata:
                metadata["name"] = metadata["generateName"] + uuid.uuid4().hex[:5]
            key = (resource, metadata["namespace"], metadata["name"])
            if key in self._objects:
                name = metadata["name"]
                message = f'{resource} "{name}" already exists'
                raise StatusError(409, "AlreadyExists", message, name=name, kind=resource)
            metadata |= {"uid": str(uuid.uuid4()), "creationTimestamp": now()}
            return self._put(key, copy.deepcopy(item), "ADDED")

    def change(self, key: Key, alter: Callable[[Object], None]) -> Object | None:
        """Alter an object; None where it is gone."""
        with self.changed:
            if key not in self._objects:
                return None
            item = copy.deepcopy(self._objects[key])
            alter(item)
            if item == self._objects[key]:
                return item
            return self._put(key, item, "MODIFIED")

    def remove(self, key: Key) -> None:
        """Take an object away."""
        with self.changed:
            item = self._objects.pop(key, None)
            if item is not None:
                self._happened(key, copy.deepcopy(item), "DELETED")

    def get(self, key: Key) -> Object:
        """An object; 404 where there is none."""
        with self.changed:
            if key not in self._objects:
                message = f'{key[0]} "{key[2]}" not found'
                raise StatusError(404, "NotFound", message, name=key[2], kind=key[0])
            return copy.deepcopy(self._objects[key])

    def find(self, key: Key) -> Object | None:
        """An object, or None."""
        try:
            return self.get(key)
        except StatusError:
            return None

    def list(self, resource: str, namespace: str) -> list[Object]:
        """All objects of a kind."""
        with self.changed:
            found = [
                item for key, item in self._objects.items() if key[:2] == (resource, namespace)
            ]
            return copy.deepcopy(found)

    def events(
        self, resource: str, namespace: str, since: int, until: float, is_open: Callable[[], bool]
    ) -> Iterator[tuple[str, Object]]:
        """What happens after a version, until a time; ERROR and the end where that is too old."""
        seen = since
        while time.monotonic() < until and is_open():
            with self.changed:
                if seen < self.oldest:
                    message = f"too old resource version: {seen} ({self.version})"
                    yield "ERROR", StatusError(410, "Expired", message).body
                    return
                new = [each for each in self._events if each[0] > seen]
                if not new:
                    self.changed.wait(0.2)
            for version, key, kind, item in new:
                seen = version
                if key[:2] == (resource, namespace):
                    yield kind, item

    def forget(self) -> None:
        """As after a restart: every version until now is too old."""
        with self.changed:
            self.version += 1
            self.oldest = self.version
            self._events.clear()
            self.changed.notify_all()

    def _put(self, key: Key, item: Object, kind: str) -> Object:
        self._objects[key] = item
        self._happened(key, item, kind)
        return copy.deepcopy(item)

    def _happened(self, key: Key, item: Object, kind: str) -> None:
        self.version += 1
        item["metadata"]["resourceVersion"] = str(self.version)
        self._events.append((self.version, key, kind, copy.deepcopy(item)))
        self.changed.notify_all()
        for listener in self.listeners:
            listener(key[0], kind, copy.deepcopy(item))
