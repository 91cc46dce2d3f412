"""The private folder of a node's part of a job, with the files that its plan wants there."""

from __future__ import annotations

import os
import re

from madrun.launchers.plan import FILES, NodePlan, ProcessPlan

_PLAIN = r"[\w/.+-]+"


class PlannedFiles:
    """Made when the plan is carried out, removed with all that was put there when the job is over.

    A plan that wants no folder gets none. Raises OSError.
    """

    def __init__(self, plan: NodePlan) -> None:
        self._folder = ""
        if not plan.files and not any(map(_mentions, plan.processes)):
            return
        import tempfile

        # A short path: a Unix socket's may have no more than 107 bytes. And a plain one: scripts
        # leave it unquoted, so that a blank in it would be the end of a word.
        usual = tempfile.gettempdir()
        parent = usual if re.fullmatch(_PLAIN, usual) else "/tmp"
        self._folder = tempfile.mkdtemp(prefix="madrun-job-", dir=parent)
        for file in plan.files:
            path = os.path.join(self._folder, file.name)
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with open(fd, "w", encoding="utf-8", errors="surrogateescape") as stream:
                stream.write(file.text)

    def filled(self, plan: NodePlan) -> NodePlan:
        """The plan with the folder's path where it was left open."""
        if not self._folder:
            return plan
        return plan._replace(processes=tuple(map(self._filled, plan.processes)))

    def remove(self) -> None:
        """Throw the folder away."""
        if self._folder:
            import shutil

            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = ""

    def _filled(self, process: ProcessPlan) -> ProcessPlan:
        return process._replace(
            argv=tuple(word.replace(FILES, self._folder) for word in process.argv),
            env={name: text.replace(FILES, self._folder) for name, text in process.env.items()},
        )


def _mentions(process: ProcessPlan) -> bool:
    return any(FILES in text for text in (*process.argv, *process.env.values()))
