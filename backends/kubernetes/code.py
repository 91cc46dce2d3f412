"""What ``--ship`` copies into the pods: files of this machine, small enough for a ConfigMap."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from madrun.system.errors import InputError

MOST_BYTES = 2**20  # of a ConfigMap, and of a Secret
_LEFT_OUT = frozenset(
    {".git", ".hg", ".svn", ".venv", "__pycache__", ".mypy_cache", "node_modules"}
)
_ADVICE = "--image with the code in it, a volume (k8s: volumes) or git clone in the program"


class ShippedFile(NamedTuple):
    """One file: its place below the working folder, its bytes, and whether it is executable."""

    key: str
    path: str
    content: bytes
    executable: bool = False

    @property
    def text(self) -> str | None:
        """The content where it is UTF-8; a ConfigMap has other bytes apart."""
        try:
            return self.content.decode()
        except UnicodeDecodeError:
            return None

    @property
    def mode(self) -> int:
        """The permissions in the pod."""
        return 0o555 if self.executable else 0o444


def shipped(paths: Sequence[str], cwd: str) -> tuple[ShippedFile, ...]:
    """The files of these scripts and folders, in the order of their paths.

    A path keeps its place below ``cwd``; one that is elsewhere comes under its last name. Raises
    InputError for what is not there or cannot be read, and where all together are too large.
    """
    found: dict[str, str] = {}
    for path in paths:
        whole = os.path.normpath(os.path.join(cwd, path))
        for file in _files_of(path, whole):
            found[_place(file, whole, cwd)] = file
    size, files = 0, []
    for number, (place, file) in enumerate(sorted(found.items())):
        content, executable = _read(file)
        size += len(content)
        if size > MOST_BYTES:
            raise InputError(
                f"--ship {' '.join(paths)}: more than {MOST_BYTES} bytes, which is what a ConfigMap"
                f" can have ({place} is too much); instead: {_ADVICE}"
            )
        files.append(ShippedFile(f"file-{number:04d}", place, content, executable))
    return tuple(files)


def _files_of(path: str, whole: str) -> Iterator[str]:
    if os.path.isfile(whole):
        yield whole
        return
    if not os.path.isdir(whole):
        raise InputError(f"--ship {path}: there is no such file or folder")
    for folder, names, files in os.walk(whole):
        names[:] = sorted(name for name in names if name not in _LEFT_OUT)
        yield from (os.path.join(folder, name) for name in files if not name.endswith(".pyc"))


def _place(file: str, given: str, cwd: str) -> str:
    inside = os.path.relpath(file, cwd)
    if not inside.startswith(".."):
        return inside
    return os.path.relpath(file, os.path.dirname(given))


def _read(path: str) -> tuple[bytes, bool]:
    try:
        with open(path, "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise InputError(f"--ship {path}: this is no plain file")
            return file.read(MOST_BYTES + 1), bool(status.st_mode & 0o100)
    except OSError as error:
        raise InputError(f"--ship {path}: {error.strerror}") from None
