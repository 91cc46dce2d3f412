"""A private folder for a while: made by the agent, removed by it, or by its guard if it cannot.

tempfile would make one as well, but its import takes longer than all of this.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping


def parent_folder(environ: Mapping[str, str]) -> str:
    """Where private folders are made."""
    return environ.get("TMPDIR") or "/tmp"


def make_folder(parent: str) -> str:
    """A new one that only this user may enter; empty where none can be made."""
    # Both numbers: agents in several containers may share a /tmp and one process id.
    name = f"{_prefix(os.getppid(), os.getpid())}{os.urandom(6).hex()}"
    try:
        os.mkdir(os.path.join(parent, name), 0o700)
    except OSError:
        return ""
    return os.path.join(parent, name)


def remove_folder(folder: str) -> None:
    """Remove a folder and the files in it, as far as that is possible."""
    with contextlib.suppress(OSError):
        for name in os.listdir(folder):
            os.unlink(os.path.join(folder, name))
        os.rmdir(folder)


def remove_left(parent: str, guard: int, core: int) -> None:
    """Remove the folders of a core that was killed."""
    with contextlib.suppress(OSError):
        for name in os.listdir(parent):
            if name.startswith(_prefix(guard, core)):
                remove_folder(os.path.join(parent, name))


def _prefix(guard: int, core: int) -> str:
    return f"madrun-{guard}-{core}-"
