"""Which file system is full."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

_LITTLE = 64 * 1024 * 1024  # bytes; less than this, and less than a hundredth, is nothing left


def full_places(folders: Sequence[str]) -> Iterator[str]:
    """Those of the folders that lie on a full file system, each file system once, with its size.

    May hang where a network file system does.
    """
    seen: set[int] = set()
    for folder in folders:
        try:
            status = os.statvfs(folder)
            device = os.stat(folder).st_dev
        except OSError:
            continue
        if device in seen:
            continue
        seen.add(device)
        size, free = status.f_blocks * status.f_frsize, status.f_bavail * status.f_frsize
        if size and free < min(size // 100, _LITTLE):
            yield f"{folder} ({size_words(size)})"
        elif status.f_files and not status.f_favail:
            yield f"{folder} (no inodes)"


def size_words(size: int) -> str:
    """A number of bytes for people.

    >>> size_words(64 << 20), size_words(3 << 29), size_words(5000)
    ('64 MiB', '1.5 GiB', '4 KiB')
    """
    if size >= 1 << 30:
        return f"{size / (1 << 30):.1f} GiB"
    return f"{size >> 20} MiB" if size >= 1 << 20 else f"{size >> 10} KiB"
