"""The files in which torch's ``@record`` leaves the exception that ended a worker.

See torch.distributed.elastic.multiprocessing.errors: where TORCHELASTIC_ERROR_FILE names a file,
it gets ``{"message": {"message": TEXT, "extraInfo": {"py_callstack": TRACEBACK, ...}}}``.
"""

from __future__ import annotations

import os
import stat

from madrun.system.private_folder import make_folder, remove_folder

VARIABLE = "TORCHELASTIC_ERROR_FILE"
_LARGEST = 1024 * 1024  # bytes; what a worker writes is not trusted


class ErrorFiles:
    """A private folder with one file per rank; without one (no place), nobody gets a file."""

    def __init__(self, parent: str) -> None:
        self._folder = make_folder(parent)

    def offer(self, env: dict[str, str], rank: int) -> None:
        """Name the rank's file in its environment, unless the user has named one."""
        if self._folder and VARIABLE not in env:
            env[VARIABLE] = self._path(rank)

    def read(self, rank: int) -> tuple[str, str]:
        """What the rank left: the exception in one text, and its traceback; empty: nothing."""
        data = _read(self._path(rank)) if self._folder else b""
        return _content(data) if data else ("", "")

    def remove(self) -> None:
        """Take the folder away."""
        if self._folder:
            remove_folder(self._folder)
        self._folder = ""

    def _path(self, rank: int) -> str:
        return os.path.join(self._folder, f"rank{rank:04d}.json")


def _read(path: str) -> bytes:
    try:
        # Neither through a link nor from a pipe that never ends.
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        kind = os.fstat(fd)
        fits = stat.S_ISREG(kind.st_mode) and kind.st_size <= _LARGEST
        return os.read(fd, _LARGEST) if fits else b""
    finally:
        os.close(fd)


def _content(data: bytes) -> tuple[str, str]:
    import json

    try:
        message = json.loads(data)["message"]
        if isinstance(message, str):  # the form of old versions
            return message, ""
        stack = message.get("extraInfo", {}).get("py_callstack", "")
        return str(message["message"]), str(stack)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return "", ""
