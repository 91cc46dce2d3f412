"""The folder that a job leaves behind: who may read it, how its files are written.

Everything here raises OSError and nothing else; the callers see to it that no job suffers.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Mapping

PLAN, EVENTS, SUMMARY, LOGS, PID = "job.json", "events.jsonl", "summary.json", "logs", "pid"
LATEST = "latest"

_READ = 64 * 1024


def make_private(path: str) -> None:
    """Make a folder, and those above it that are missing, with mode 0700; keep what is there.

    Raises OSError.
    """
    missing = []
    above = path
    while not os.path.isdir(above):
        missing.append(above)
        above = os.path.dirname(above)
    for each in reversed(missing):
        with contextlib.suppress(FileExistsError):  # another job makes the parent as well
            os.mkdir(each, 0o700)
    if missing and not os.path.isdir(path):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))


def jobs_folder(given: str, environ: Mapping[str, str], cwd: str) -> str:
    """Where each job leaves its folder: as given, else $MADRUN_JOB_DIR, else ~/.madrun/jobs.

    >>> jobs_folder("", {"HOME": "/home/me"}, "/"), jobs_folder("kept", {}, "/work")
    ('/home/me/.madrun/jobs', '/work/kept')
    """
    home = environ.get("HOME") or os.path.expanduser("~")
    default = os.path.join(home, ".madrun", "jobs")
    return os.path.join(cwd, given or environ.get("MADRUN_JOB_DIR") or default)


def hold(folder: str) -> int:
    """Mark the record as one of a job that runs, as long as the descriptor is open.

    May wait while somebody looks at the record; raises OSError where the file cannot be made.
    """
    path = os.path.join(folder, f".{os.uname().nodename}.lock")
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with contextlib.suppress(OSError):  # a file system without locks: nothing is removed there
        fcntl.flock(fd, fcntl.LOCK_SH)  # runner and agent share it
    return fd


class JobFolder:
    """``PARENT/JOB_ID``: mode 0700, its files 0600."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._events = -1

    def make(self) -> None:
        """Make the folder, and those above it that are missing; one that is there is kept."""
        make_private(self.path)

    def point_latest(self) -> None:
        """Let ``PARENT/latest`` lead to this folder; what is no link of ours is left alone."""
        parent, name = os.path.split(self.path)
        link, new = os.path.join(parent, LATEST), os.path.join(parent, f".{name}")
        if os.path.lexists(link) and not os.path.islink(link):
            return
        with contextlib.suppress(FileNotFoundError):  # of a job that was killed in between
            os.unlink(new)
        os.symlink(name, new)
        try:
            os.rename(new, link)
        except OSError:
            os.unlink(new)
            raise

    def link_logs(self, log_dir: str) -> None:
        """Let ``logs`` lead to the folder that ``--log-dir`` names.

        Without the option, it is a folder, which the agents make on their nodes.
        """
        with contextlib.suppress(FileExistsError):
            os.symlink(log_dir, self.file(LOGS))

    def file(self, name: str) -> str:
        """The path of a file in it."""
        return os.path.join(self.path, name)

    def has(self, name: str) -> bool:
        """Whether a file is there."""
        return os.path.exists(self.file(name))

    def neighbours(self) -> int:
        """How many records lie in the same folder, this one and whatever else is there included."""
        return len(os.listdir(os.path.dirname(self.path)))

    def write(self, name: str, text: str) -> None:
        """A file as a whole: a reader finds all of it, or what was there before."""
        new = self.file(f".{name}.new")
        fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            data = text.encode()
            while data:
                data = data[os.write(fd, data) :]
        finally:
            os.close(fd)
        os.rename(new, self.file(name))

    def append(self, line: str) -> None:
        """One event, in one write: whoever is killed, and when, no line is mixed with another.

        Where the disk takes only a part of it, that part is taken back.
        """
        if self._events < 0:
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
            self._events = os.open(self.file(EVENTS), flags, 0o600)
        data = line.encode() + b"\n"
        if os.write(self._events, data) != len(data):
            self.repair()
            raise OSError(
                errno.ENOSPC, os.strerror(errno.ENOSPC)
            )  # what a short write to a file means

    def events(self) -> list[bytes]:
        """The lines of the events that are there as a whole."""
        with open(self.file(EVENTS), "rb") as file:
            return file.read().split(b"\n")[:-1]

    def repair(self) -> None:
        """Cut off the beginning of an event whose writer was killed, or met a full disk."""
        path = self.file(EVENTS)
        with contextlib.suppress(FileNotFoundError), open(path, "rb+", buffering=0) as file:
            end = file.seek(0, os.SEEK_END)
            position = end
            while position:
                start = max(0, position - _READ)
                file.seek(start)
                found = file.read(position - start).rfind(b"\n")
                if found >= 0:
                    position = start + found + 1
                    break
                position = start
            if position != end:
                file.truncate(position)

    def close(self) -> None:
        """Let go of the events."""
        if self._events >= 0:
            os.close(self._events)
            self._events = -1
