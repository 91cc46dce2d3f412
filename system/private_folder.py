"""A private folder for a while: made by the agent, removed by it, or by its guard if it cannot.

tempfile would make one as well, but its import takes longer than all of this.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Mapping

from madrun.system.guard_notes import leave_note

NOTE = "private_folder"
_DEEPEST = 64  # folders within each other; what a worker makes there is not trusted
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def parent_folder(environ: Mapping[str, str]) -> str:
    """Where private folders are made."""
    return environ.get("TMPDIR") or "/tmp"


def make_folder(parent: str) -> str:
    """A new one that only this user may enter, known to our guard; empty where none can be made."""
    folder = os.path.abspath(os.path.join(parent, f"madrun-{os.urandom(12).hex()}"))
    leave_note(NOTE, folder)
    try:
        os.mkdir(folder, 0o700)
    except OSError:
        return ""
    return folder


def remove_folder(folder: str) -> None:
    """Remove a folder that ``make_folder`` has made and what is in it, as far as that is possible.

    Nothing outside of it is touched, whatever has been put in its place or into it: links are
    removed, not followed, and so is no folder of somebody else's or on another file system.
    """
    with contextlib.suppress(OSError):
        fd = os.open(folder, _DIRECTORY)
        try:
            status = os.fstat(fd)
            if status.st_uid != os.geteuid() or status.st_mode & 0o077:
                return
            _empty(fd, status.st_dev, _DEEPEST)
        finally:
            os.close(fd)
        os.rmdir(folder)


def _empty(folder: int, device: int, depth: int) -> None:
    for name in os.listdir(folder):
        with contextlib.suppress(OSError):
            if stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
                _remove_below(folder, name, device, depth - 1)
            else:
                os.unlink(name, dir_fd=folder)


def _remove_below(folder: int, name: str, device: int, depth: int) -> None:
    fd = os.open(name, _DIRECTORY, dir_fd=folder)
    try:
        if depth <= 0 or os.fstat(fd).st_dev != device:
            return
        _empty(fd, device, depth)
    finally:
        os.close(fd)
    os.rmdir(name, dir_fd=folder)
