"""madrun on this machine, for tests: run to its end, watched while it runs, or only planned."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any
from unittest.mock import patch

from madrun.record.guard_handover import GuardHandover
from madrun.runner.cli import run_command
from support.cluster import BIN
from support.programs import PATIENCE

MADRUN = BIN / "madrun"
Words = str | os.PathLike[str]
Env = Mapping[str, str] | None
_CHOOSING = ("MADRUN_HOSTFILE", "DS_ENV_FILE", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES")


def environment(**extra: str) -> dict[str, str]:
    """Ours, without what would choose hosts or an environment file; no GPU is seen."""
    kept = {key: value for key, value in os.environ.items() if key not in _CHOOSING}
    return {**kept, "CUDA_VISIBLE_DEVICES": "", **extra}


def madrun(
    *words: Words, cwd: Path | None = None, env: Env = None
) -> subprocess.CompletedProcess[str]:
    """Run madrun to its end."""
    return subprocess.run(
        [MADRUN, *words],
        cwd=cwd,
        env=environment(**(env or {})),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def decided(
    *words: Words, cwd: Path | None = None, env: Env = None
) -> subprocess.CompletedProcess[str]:
    """What madrun decides before it starts anything, in this process: no interpreter is started.

    Without a guard to watch, no job can start.
    """
    argv, here, out, err = [os.fspath(word) for word in words], Path.cwd(), StringIO(), StringIO()
    try:
        os.chdir(cwd or here)
        variables = patch.dict(os.environ, environment(**(env or {})), clear=True)
        with variables, redirect_stdout(out), redirect_stderr(err):
            status = run_command(argv, -1, GuardHandover())
    finally:
        os.chdir(here)
    return subprocess.CompletedProcess(argv, status, out.getvalue(), err.getvalue())


def shown(*words: Words, cwd: Path | None = None, env: Env = None) -> list[str]:
    """The lines that a job which goes well prints, without prefix and in any order: sorted."""
    done = madrun("--no-prefix", *words, cwd=cwd, env=env)
    assert done.returncode == 0, done.stderr
    return sorted(done.stdout.splitlines())


def planned(*words: Words, cwd: Path | None = None, env: Env = None) -> dict[str, Any]:
    """What a dry run of ``train.py`` says; nobody is contacted."""
    done = decided("--dry-run", "--json", "--show-values", *words, "train.py", cwd=cwd, env=env)
    assert done.returncode == 0, done.stderr
    plan: dict[str, Any] = json.loads(done.stdout)
    return plan


def refused(*words: Words, cwd: Path | None = None, env: Env = None) -> str:
    """What is said about a mistake: one line, exit status 2, and nothing was started."""
    done = decided(*words, "--no-python", "echo", "started", cwd=cwd, env=env)
    assert (done.returncode, done.stdout) == (2, ""), done
    assert done.stderr.count("\n") == 1
    return done.stderr


class Here:
    """A madrun that runs; ``said`` is what was read of it so far, stdout and stderr."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.said = ""

    def until(self, pattern: str, count: int = 1) -> list[str]:
        """Read until a pattern was seen so often; the matches."""
        assert self.process.stdout is not None
        while len(found := re.findall(pattern, self.said)) < count:
            line = self.process.stdout.readline()
            assert line, f"{pattern!r} was seen {len(found)} times, not {count}:\n{self.said}"
            self.said += line
        return found

    def end(self, number: int = 0) -> int:
        """Send a signal, if any; the exit status, once nobody holds the output open."""
        assert self.process.stdout is not None
        if number:
            self.process.send_signal(number)
        self.said += self.process.stdout.read()
        return self.process.wait(PATIENCE)


@contextmanager
def running(
    *words: Words, before: Sequence[Words] = (), cwd: Path | None = None, env: Env = None
) -> Iterator[Here]:
    """A madrun, started by the words ``before`` where there are any; it is killed at the end."""
    with subprocess.Popen(
        [*before, MADRUN, *words],
        cwd=cwd,
        env=environment(**(env or {})),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            yield Here(process)
        finally:
            process.send_signal(signal.SIGKILL)
