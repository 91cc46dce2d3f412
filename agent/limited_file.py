"""A file that keeps its beginning and its end, whatever is written, and says what lies between.

Beyond the limit the end goes to a second file, which is begun anew when it is full; the one before
is kept for so long. So both ends are on the disk at any time, whoever is killed. At the end all is
joined in the first file.
"""

from __future__ import annotations

import contextlib
import os

_LONGEST_END = 8 * 1024 * 1024  # bytes: joining is a copy, for which the end of a job has to wait
_PIECE = 1024 * 1024


class _Part:
    """One of the files: how much was written to it, and how many line ends."""

    def __init__(self, fd: int, room: int | None) -> None:
        self.fd, self.room = fd, room
        self.size = self.lines = 0

    def take(self, data: memoryview) -> int:
        """Write as much as there is room for; returns how many bytes that was."""
        data = data if self.room is None else data[: self.room - self.size]
        write_all(self.fd, data)
        self.size += len(data)
        self.lines += bytes(data).count(b"\n")
        return len(data)


class LimitedFile:
    """The file open as ``fd``, new and empty; ``limit`` is in bytes, 0 is none.

    What is left out is counted in ``missing``. Every method may raise OSError.
    """

    def __init__(self, fd: int, path: str, limit: int) -> None:
        self.missing = self._missing_lines = 0
        self._limit = limit
        self._end, self._before = f"{path}.end", f"{path}.end-before"
        self._room = min(limit // 4, _LONGEST_END)  # of each of these two
        self._parts = [_Part(fd, limit - 2 * self._room if limit else None)]
        for stale in (self._end, self._before):  # of an earlier job
            with contextlib.suppress(OSError):
                os.unlink(stale)

    def write(self, data: bytes) -> None:
        """Write this; the oldest of what is not the beginning may go for it."""
        rest = memoryview(data)
        while rest := rest[self._parts[-1].take(rest) :]:
            self._begin_another()

    def join(self) -> None:
        """Put all that was kept into the file itself; where that fails, the others stay."""
        first, *ends = self._parts
        if not ends:
            return
        os.ftruncate(first.fd, first.size)  # what was said there of the other files
        os.lseek(first.fd, 0, os.SEEK_END)
        if self.missing:
            said = f"{self.missing} bytes ({self._missing_lines} lines) are left out here"
            _say(first.fd, f"{said}: --log-limit is {self._limit} bytes")
        for part in ends:
            offset = 0
            while piece := os.pread(part.fd, _PIECE, offset):
                write_all(first.fd, piece)
                offset += len(piece)
        for path in (self._before, self._end)[-len(ends) :]:
            os.unlink(path)

    def close(self) -> None:
        """Let go of the files."""
        for part in self._parts:
            os.close(part.fd)

    def _begin_another(self) -> None:
        first, *ends = self._parts
        if not ends:
            name = os.path.basename(self._end)
            _say(first.fd, f"the beginning is full; what follows is in {name}-before and {name}")
        else:
            os.replace(self._end, self._before)
        if len(ends) == 2:
            oldest = self._parts.pop(1)
            os.close(oldest.fd)
            self.missing += oldest.size
            self._missing_lines += oldest.lines
        flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        self._parts.append(_Part(os.open(self._end, flags, 0o600), self._room))


def write_all(fd: int, data: bytes | memoryview) -> None:
    """Write all of it, however often that takes; raises OSError."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]


def _say(fd: int, text: str) -> None:
    write_all(fd, f"\n[madrun: {text}]\n".encode())
