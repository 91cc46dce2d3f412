"""The kernel's log from a certain moment on, where it may be read."""

from __future__ import annotations

import contextlib
import os
import time

_RECORD = 8192  # bytes; the kernel refuses a smaller buffer for its longest record
_LIMIT = 0.05  # seconds; a kernel that writes more than we can read meanwhile has other troubles
_WANTED = (b"Kill", b"oom-kill:", b"NVRM", b"nvswitch", b"amdgpu")


class KernelLog:
    """Remembers where the log ended at its construction; see kmsg in dev-kmsg (kernel docs)."""

    def __init__(self, path: str = "/dev/kmsg") -> None:
        self._fd = -1
        self._lines: list[str] = []
        # Mostly not permitted (kernel.dmesg_restrict), or not there (containers).
        with contextlib.suppress(OSError):
            self._fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            os.lseek(self._fd, 0, os.SEEK_END)

    @property
    def readable(self) -> bool:
        """False where nothing can be said because of missing rights."""
        return self._fd >= 0

    def lines(self) -> list[str]:
        """The messages since the construction that may tell why a process died."""
        end = time.monotonic() + _LIMIT
        while self.readable and time.monotonic() < end:
            try:
                data = os.read(self._fd, _RECORD)
            except BrokenPipeError:  # what came next was overwritten: the oldest there is follows
                continue
            except OSError:  # EAGAIN: nothing more
                break
            if not data:
                break
            self._lines += [_text(line) for line in data.splitlines() if _is_wanted(line)]
        return self._lines

    def close(self) -> None:
        """Let go of the log."""
        if self.readable:
            os.close(self._fd)
        self._fd = -1


def _is_wanted(line: bytes) -> bool:
    # Lines of a record after its first begin with a blank: they name the device, for machines.
    return line[:1] != b" " and any(word in line for word in _WANTED)


def _text(line: bytes) -> str:
    return line.partition(b";")[2].decode(errors="replace")
