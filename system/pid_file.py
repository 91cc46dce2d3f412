"""A file with the runner's process id, for those who want to signal or await a job.

A lock on the file says whether its job lives, not the number in it: ids are used again, locks
go with their process. The file holds the id and nothing else, for ``kill $(cat FILE)``.
"""

from __future__ import annotations

import contextlib
import fcntl
import os

from madrun.system.errors import InputError

_LONGEST = 32  # bytes; more is no process id


class PidFile:
    """Held from its construction until ``remove``; raises InputError where that cannot be."""

    def __init__(self, path: str, pid: int) -> None:
        self.path, self._pid = path, pid
        try:
            self._fd = self._locked()
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, b"%d\n" % pid, 0)
        except OSError as error:
            raise InputError(f"pid file {path}: {error.strerror}") from None

    def remove(self) -> None:
        """The job is over. The lock is let go of last: nobody finds a free file that goes away."""
        with contextlib.suppress(OSError):
            remove_own(self.path, self._pid)
        os.close(self._fd)

    def _locked(self) -> int:
        while True:
            fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                content = os.pread(fd, _LONGEST + 1, 0)
                self._check(content)
                self._lock(fd, content)
                # Removed between our open and our lock, by a job that ended: then another try.
                if os.path.samestat(os.fstat(fd), os.stat(self.path)):
                    return fd
                os.close(fd)
            except FileNotFoundError:
                os.close(fd)
            except BaseException:
                os.close(fd)
                raise

    def _check(self, content: bytes) -> None:
        text = content.strip()
        if len(content) > _LONGEST or (text and not text.isdigit()):
            raise InputError(f"pid file {self.path}: there is something else in it: not replaced")

    def _lock(self, fd: int, content: bytes) -> None:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = content.decode().strip() or "another madrun"
            raise InputError(
                f"pid file {self.path}: held by a job that runs, pid {holder}"
            ) from None


def remove_abandoned(path: str, pid: int) -> None:
    """Remove a file whose holder was killed; not where another job has it already. OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        remove_own(path, pid)
    finally:
        os.close(fd)


def remove_own(path: str, pid: int) -> None:
    """Remove the file if it still names this process; raises OSError."""
    with open(path, "rb") as file:
        own = file.read(_LONGEST).strip() == b"%d" % pid
    if own:
        os.unlink(path)
