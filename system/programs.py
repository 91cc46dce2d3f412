"""Where a program is, as execvp(3) looks for it."""

from __future__ import annotations

import os
from collections.abc import Mapping

from madrun.system.errors import ProgramNotExecutable, ProgramNotFound


def find_program(name: str, env: Mapping[str, str], workdir: str) -> str:
    """The file that would be executed, as execvp(3) finds it, by the worker's own PATH.

    Raises ProgramNotFound or ProgramNotExecutable.
    """
    if "/" in name:
        candidates = [os.path.join(workdir, name)]
    else:
        path = env.get("PATH", os.defpath)
        candidates = [os.path.join(workdir, entry, name) for entry in path.split(os.pathsep)]
    found = [path for path in candidates if os.path.exists(path)]
    for path in found:
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    if found:
        kind = "a folder" if os.path.isdir(found[0]) else "not executable"
        raise ProgramNotExecutable(f"{found[0]} is {kind}")
    where = "" if "/" in name else " on the PATH of the workers"
    raise ProgramNotFound(f"program {name!r} is not found{where}")
