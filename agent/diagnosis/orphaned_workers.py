"""Workers that a framework's launcher has left running when it reports success.

deepspeed does that: when the process between it and its workers is killed, it takes the negative
status for no failure (DeepSpeed 0.19, launcher/runner.py: only a status above 0 is passed on).
"""

from __future__ import annotations

from collections.abc import Collection

from madrun.system.kernel import children
from madrun.system.words import counted
from madrun.wire.messages import Exited, ExitKind

# torchrun and deepspeed start a worker as ``python -u SCRIPT`` with its ranks in the environment.
_UNBUFFERED = b"-u"
_VARIABLES = (b"\0LOCAL_RANK=", b"\0RANK=")


def success_or_not(exited: Exited, known: Collection[int]) -> Exited:
    """A failure where the launcher exited with 0 and workers of it have come to us as orphans.

    ``known`` are the processes that we have started ourselves. What other programs a worker left
    behind (a tracker's service, a forked helper without ranks) is no sign of anything.
    """
    left = [pid for pid in children() if pid not in known and _is_worker(pid)]
    if not left:
        return exited
    words = f"exited with status 0 while {counted(len(left), 'worker')} of it still ran"
    return exited._replace(status=1, kind=ExitKind.ORPHANED_WORKERS, words=words)


def _is_worker(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            words = file.read().split(b"\0")
        with open(f"/proc/{pid}/environ", "rb") as file:
            environ = b"\0" + file.read()
    except OSError:
        return False  # it has ended, or is another user's
    return words[1:2] == [_UNBUFFERED] and all(name in environ for name in _VARIABLES)
