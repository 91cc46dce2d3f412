"""Why a worker failed, in a line: what kernel, file systems and its own last words say.

The question is asked on a thread of its own with a short limit: a dead network file system, or a
mistake in here, must not hold up the end of a job. What only a failure needs is imported then.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence

from madrun.agent.diagnosis.error_files import ErrorFiles
from madrun.agent.diagnosis.kernel_events import KernelEvents
from madrun.system.private_folder import parent_folder
from madrun.wire.messages import Exited

_LIMIT = 0.2  # seconds
_LONGEST = 240  # characters of a cause
_SHM = "/dev/shm"
# No exception makes Python die of a signal, unless on its way out it is aborted.
_AFTER_EXCEPTIONS = (-signal.SIGABRT, -signal.SIGSEGV)


class Diagnosis:
    """What can be known of the ends of one node's workers; ``root`` is for tests."""

    def __init__(
        self, workdir: str, log_dir: str, environ: Mapping[str, str], root: str = "/"
    ) -> None:
        tmp = parent_folder(environ)
        self._workdir, self._root = workdir, root
        self._folders = [folder for folder in (workdir, log_dir, tmp, _SHM) if folder]
        self._files = ErrorFiles(tmp)
        self._kernel: KernelEvents | None = None
        self._stuck = False

    def prepare(self, env: dict[str, str], rank: int) -> None:
        """Add to a worker's environment what lets it leave word."""
        self._files.offer(env, rank)

    def begin(self) -> None:
        """The workers run: what the kernel says from now on counts."""
        self._kernel = KernelEvents(self._root)

    def preload(self) -> None:
        """Have at hand what a cause takes; nobody waits for that now."""
        from madrun.agent.diagnosis import (  # noqa: F401
            full_disks,
            kernel_words,
            torchrun_summary,
            traceback_parser,
        )

    def cause(self, exited: Exited, limit: float = _LIMIT) -> str:
        """Why this worker failed, or as much as is found within the limit; empty: not known."""
        if self._stuck:
            return ""
        found: list[str] = []
        thread = threading.Thread(target=self._ask, args=(exited, found), daemon=True)
        thread.start()
        thread.join(limit)
        self._stuck = thread.is_alive()
        return one_line("; ".join(found))

    def raised(self, exited: Exited) -> str:
        """The exception that its last lines end with; empty: none."""
        if not exited.tail:
            return ""
        from madrun.agent.diagnosis.traceback_parser import exception, lines_of

        return one_line(str(exception(lines_of(exited.tail)) or ""))

    def close(self) -> None:
        """Nothing runs any more: take away what was put up."""
        self._files.remove()
        if self._kernel is not None and not self._stuck:
            self._kernel.close()
        self._kernel = None

    def _ask(self, exited: Exited, found: list[str]) -> None:
        try:
            for part in self._parts(exited):  # as they come: the limit may be reached
                found.append(part)
        except Exception as error:  # the outermost place of this thread; the report has it
            found.append(f"(madrun could not find out more: {error!r})")

    def _parts(self, exited: Exited) -> Iterator[str]:
        """From what is certain to what is only said, and from what is quick to what may hang."""
        from madrun.agent.diagnosis.traceback_parser import hint, lines_of, says_no_space

        if self._kernel is not None:
            killed = self._kernel.memory_words(exited.pid, exited.status)
            yield from [killed] if killed else []
            yield from self._kernel.gpu_words(exited.pid)[:2]
        lines = lines_of(exited.tail)
        raised = self._exception(exited, lines)
        yield from filter(None, (raised, hint(lines, raised)))
        if says_no_space(lines) or exited.status == -signal.SIGBUS:
            yield from self._space_words(exited, lines)

    def _exception(self, exited: Exited, lines: Sequence[str]) -> str:
        from madrun.agent.diagnosis.torchrun_summary import FAILED, first_failure
        from madrun.agent.diagnosis.traceback_parser import exception, lines_of

        if exited.status < 0 and exited.status not in _AFTER_EXCEPTIONS:
            return ""
        message, stack = self._files.read(exited.rank)
        raised = exception(lines_of(stack.encode(errors="replace"))) or exception(lines)
        if raised and raised.text.startswith(FAILED):
            return first_failure(lines) or str(raised)
        return str(raised) if raised else message.strip().partition("\n")[0]

    def _space_words(self, exited: Exited, lines: Sequence[str]) -> Iterator[str]:
        from madrun.agent.diagnosis.full_disks import full_places
        from madrun.agent.diagnosis.traceback_parser import no_space_for

        named = no_space_for(lines)
        first = [os.path.dirname(os.path.join(self._workdir, named))] if named else []
        places = list(full_places([*first, *self._folders]))
        if places:
            yield f"no space left on {', '.join(places)}"
        elif exited.status == -signal.SIGBUS:
            yield f"a bus error: mostly a full {_SHM}"


def one_line(text: str) -> str:
    r"""What a worker wrote must not move the cursor, nor fill the screen.

    >>> one_line("a\x1b[2Jb\n c")
    'a [2Jb c'
    """
    plain = " ".join("".join(each if each.isprintable() else " " for each in text).split())
    return plain if len(plain) <= _LONGEST else f"{plain[: _LONGEST - 3]}..."
