"""What a core tells its guard in time, in case it is killed: a pipe with names and values.

The guard reads it when it has to act. There is one guard to a process, so this is no object that
everybody would have to be handed. Without a guard (a test, a library) notes go nowhere.
"""

from __future__ import annotations

import contextlib
import os

GRACE_NOTE = "grace"  # seconds that workers may take to end

_pipe: tuple[int, int] | None = None


def open_notes() -> None:
    """Before the fork: from now on notes are kept for whoever reads them in the guard."""
    global _pipe
    _pipe = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)


def leave_note(name: str, value: str) -> None:
    """Tell the guard; what does not fit into the pipe (64 KiB) is not told."""
    if _pipe is not None:
        with contextlib.suppress(OSError):  # the guard is gone: we have to do it ourselves
            os.write(_pipe[1], os.fsencode(f"{name}={value}\0"))


def read_notes() -> list[tuple[str, str]]:
    """In the guard: what has been told since it was last asked, in order."""
    if _pipe is None:
        return []
    try:
        data = os.read(_pipe[0], 64 * 1024)
    except BlockingIOError:
        return []
    pairs = [item.partition("=") for item in os.fsdecode(data).split("\0") if item]
    return [(name, value) for name, _, value in pairs]
