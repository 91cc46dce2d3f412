"""Records of old jobs are removed, so that they do not fill the disk; none of a job that runs.

Each job that runs holds a lock on a file in its folder, which dies with its holder. A folder is
removed only where it is certainly a record: its name is a job id, it is ours and private, and
there is nothing in it that madrun did not put there. Links are never followed.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import stat
import threading
import time
from collections.abc import Iterator

from madrun.record.job_folder import EVENTS, LOGS, PID, PLAN, SUMMARY, hold
from madrun.record.retention import Found, Retention, surplus

_JOB_ID = re.compile(r"[0-9]{8}-[0-9]{6}-[0-9a-f]{6}|slurm-[0-9]+\.[0-9]+(?:-r[0-9]+)?")
_OWN_NAMES = re.compile(r"\..+\.lock|\.(job|summary)\.json\.new")
_LOG = re.compile(r"rank[0-9]{4,}\.(out|err)")
_OURS = {PLAN, EVENTS, SUMMARY, LOGS, PID}
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_SETTLED = 3600.0  # seconds without an event, of a record that was never closed


def prune(parent: str, kept: Retention) -> list[str]:
    """Remove what is too much among the records in a folder; returns the names of those removed."""
    with _opened(parent) as fd:
        names = [name for name in os.listdir(fd) if _JOB_ID.fullmatch(name)]
        found = [each for name in names for each in _look(fd, name)]
        return [name for name in surplus(found, kept) if _remove_record(fd, name)]


def prune_beside(folder: str, kept: Retention) -> threading.Thread:
    """Do that where this record is, on a thread of its own."""

    def work() -> None:
        with contextlib.suppress(OSError):
            prune(os.path.dirname(folder), kept)

    thread = threading.Thread(target=work, name="prune", daemon=True)
    thread.start()
    return thread


def tend_logs(logs: str, kept: Retention) -> None:
    """The same on a node that does not share the runner's home: the job's logs are held here.

    The lock is let go of with this process.
    """
    folder = os.path.dirname(logs)
    if not os.path.exists(os.path.join(folder, PLAN)):
        with contextlib.suppress(OSError):
            hold(folder)
            prune_beside(folder, kept)


def _look(parent: int, name: str) -> Iterator[Found]:
    """The record of that name; none where it is not certainly one."""
    with contextlib.suppress(OSError), _opened(name, parent) as fd:
        names = _own_names(fd)
        files = [*_files(fd)]
        begun = min([each.st_mtime for each in files], default=0.0)
        if names is not None:
            with _locked(fd, names) as over:
                yield Found(name, begun, sum(each.st_size for each in files), over)


def _own_names(folder: int) -> list[str] | None:
    """What is in a record; None where it is none, or has what is not ours."""
    itself, names = os.fstat(folder), os.listdir(folder)
    known = all(each in _OURS or _OWN_NAMES.fullmatch(each) for each in names)
    if not known or itself.st_uid != os.geteuid() or itself.st_mode & 0o077:
        return None
    return names if names != [LOGS] or _has_only_logs(folder) else None


def _has_only_logs(folder: int) -> bool:
    """What an agent leaves on a node that does not share the runner's home."""
    with contextlib.suppress(OSError), _opened(LOGS, folder) as logs:
        return all(_LOG.match(name) for name in os.listdir(logs))
    return False


@contextlib.contextmanager
def _locked(folder: int, names: list[str]) -> Iterator[bool]:
    """Whether the job is over; meanwhile no other process thinks so, and removes it as well."""
    own = f".{os.uname().nodename}.lock"
    with contextlib.ExitStack() as held:
        yield (own not in names or _lock(folder, own, held)) and (
            SUMMARY in names or _is_abandoned(folder, names, own)
        )


def _is_abandoned(folder: int, names: list[str], own_lock: str) -> bool:
    """Whether a record that nobody closed is of a job whose machine died, or of a quick one's logs.

    The lock of another machine may not be seen here, and one may be about to be taken.
    """
    known = {own_lock, LOGS} >= {*names} or own_lock in names
    others = any(name.endswith(".lock") and name != own_lock for name in names)
    last = max([each.st_mtime for each in _files(folder)], default=0.0)
    return known and not others and last < time.time() - _SETTLED


def _lock(folder: int, name: str, held: contextlib.ExitStack) -> bool:
    try:
        fd = os.open(name, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=folder)
        held.callback(os.close, fd)
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _remove_record(parent: int, name: str) -> bool:
    """Remove a record whose job is still over; False where it could not be removed."""
    try:
        with _opened(name, parent) as fd:
            names = _own_names(fd) or []
            with _locked(fd, names) as over:
                # The lock goes last: somebody else may have to finish this.
                for each in sorted(names, key=lambda name: name.endswith(".lock")) if over else ():
                    _remove(fd, each)
        os.rmdir(name, dir_fd=parent)
    except OSError:
        return False
    return True


def _remove(folder: int, name: str) -> None:
    if stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
        with _opened(name, folder) as fd:
            for each in os.listdir(fd):
                _remove(fd, each)
        os.rmdir(name, dir_fd=folder)
    else:
        os.unlink(name, dir_fd=folder)


def _files(folder: int) -> Iterator[os.stat_result]:
    """All that is in a folder, and below it."""
    for name in os.listdir(folder):
        found = os.stat(name, dir_fd=folder, follow_symlinks=False)
        if stat.S_ISDIR(found.st_mode):
            with _opened(name, folder) as fd:
                yield from _files(fd)
        else:
            yield found


@contextlib.contextmanager
def _opened(path: str, parent: int | None = None) -> Iterator[int]:
    fd = os.open(path, _FOLDER if parent is not None else _FOLDER & ~os.O_NOFOLLOW, dir_fd=parent)
    try:
        yield fd
    finally:
        os.close(fd)
