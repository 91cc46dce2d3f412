"""What the runner leaves to its guard, in case it is killed: the last lines of the job's record.

The core of madrun can be killed at any moment; its guard outlives it. The core leaves it a note
where the record is. When the core is gone without having closed it, the guard does. What takes
time to import is imported then only.
"""

from __future__ import annotations

import contextlib
import os

from madrun.system.guard_notes import leave_note

_LIMIT = 3.0  # seconds for a disk that may hang: the guard's own end waits no longer


class GuardHandover:
    """``register`` and ``done`` are the core's, ``execute`` is the guard's."""

    def register(self, **names: str) -> None:
        """Tell the guard of ``folder``, ``job_id``, our ``core``, and each ``pid_file``."""
        for name, value in names.items():
            leave_note(name, value)

    def done(self) -> None:
        """Nothing is left to do."""
        self.register(done="yes")

    def execute(self, left: list[tuple[str, str]], raw_status: int, status: int) -> None:
        """In the guard, once all is over: ``raw_status`` is the core's, ``status`` our own."""
        if not left or ("done", "yes") in left:
            return
        import threading

        # Neither a dead file server nor a bug may hold up the guard's exit.
        work = threading.Thread(target=_finish, args=(left, raw_status, status), daemon=True)
        work.start()
        work.join(_LIMIT)


def _finish(left: list[tuple[str, str]], raw_status: int, status: int) -> None:
    for path in [value for name, value in left if name == "pid_file"]:
        from madrun.system.pid_file import remove_abandoned

        with contextlib.suppress(OSError):
            remove_abandoned(path, os.getpid())
    known = dict(left)
    if "folder" in known:
        from madrun.record.summary import conclude

        with contextlib.suppress(OSError, ValueError):
            pids = {"guard": os.getpid(), "core": int(known["core"])}
            conclude(known["folder"], known["job_id"], pids, (raw_status, status))
