"""``--submit slurm`` and every other option: passed on, used, or refused by name."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from madrun.options.option import MADAGENT
from madrun.options.request import fields
from madrun.record.guard_handover import GuardHandover
from madrun.runner.cli import parsed, run_command
from madrun.runner.submit.submit import submit
from madrun.system.errors import InputError

# The script is handed to this, which keeps what it got.
SBATCH = '#!/bin/sh\n{ printf "%s\\n" "$@"; cat; } > "$SUBMITTED"\necho 17\n'
# What is typed where any text or number would not do.
TYPED = {
    "hostfile": "--hostfile=hosts", "include": "--include=node0:0", "exclude": "--exclude=node0:1",
    "nproc_per_node": "--nproc-per-node=2", "launcher": "--launcher=torchrun",
    "launcher_opt": "--launcher-opt=max_restarts=3", "remote_python": "--remote-python=/py",
    "backend": "--backend=ssh", "backend_args": "--backend-args=--begin=now",
    "export": "--export=A=1", "env_file": "--env-file=env", "config": "--config=job.json",
    "additional_context": "--additional-context={'env_vars': {'B': '1'}}",
    "bind_core_list": "--bind-core-list=0", "stdin": "--stdin=all", "output": "--output=first",
    "keep_jobs": "--keep-jobs=3", "log_limit": "--log-limit=1MB", "slurm": "--slurm=time=5",
}  # fmt: skip
# What has a meaning with another launcher only.
BESIDE = {"launcher_opt": ("--launcher=torchrun",), "client": ("--launcher=vllm",)}
FILES = {"env": "A=1\n", "job.json": '{"env_vars": {"A": "1"}}', "hosts": "a slots=2\n"}
ELSEWHERE = {
    "submit": "it is what all the others are typed with",
    "wait": "tests/slurm/test_batch.py waits for real jobs",
    "no_local_rank": "it asks for what is so anyway",
}


KEYS = [
    key for key, field in fields().items() if field.option.of != MADAGENT and key not in ELSEWHERE
]


class Seen(NamedTuple):
    """All that one submission shows."""

    error: str
    out: str
    err: str
    submitted: str


def typed(key: str) -> str:
    """A word that asks for something else than the default."""
    field = fields()[key]
    option = "--" + key.replace("_", "-")
    if field.kind is bool:
        return option
    if field.option.choices:
        others = [each for each in field.option.choices if each != field.default]
        return f"{option}={others[-1]}"
    number = field.kind is float or int in getattr(field.kind, "__args__", (field.kind,))
    return f"{option}={'7' if number else 'x'}"


@pytest.fixture
def seen(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Seen]:
    """Submits a job of two nodes with these words, and tells what came of it."""
    monkeypatch.chdir(tmp_path)
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "sbatch").write_text(SBATCH)
    (tmp_path / "sbatch").chmod(0o755)
    submitted = tmp_path / "submitted"
    path = f"{tmp_path}:{os.environ['PATH']}"
    environ = {"PATH": path, "HOME": str(tmp_path), "SUBMITTED": str(submitted), "EDITOR": "vi"}

    def look(*words: str) -> Seen:
        submitted.unlink(missing_ok=True)
        error = ""
        try:
            request = parsed(["--submit", "slurm", "--nnodes=2", *words, "program"])
            submit(request, environ, str(tmp_path), "/opt/python")
        except InputError as refused:
            error = str(refused)
        out, err = capsys.readouterr()
        return Seen(error, out, err, submitted.read_text() if submitted.exists() else "")

    return look


@pytest.mark.parametrize("key", KEYS)
def test_no_option_of_madrun_is_dropped_silently(key: str, seen: Callable[..., Seen]) -> None:
    beside, word = BESIDE.get(key, ()), TYPED.get(key) or typed(key)
    usual = seen(*beside)
    assert usual.error == ""
    assert "#SBATCH" in usual.submitted
    found = seen(*beside, word)
    if found.error:
        assert found.error.startswith(f"--submit slurm: {word.partition('=')[0]}")
        assert found.submitted == ""
    else:
        assert found != usual, f"{word} changes nothing, and nobody says so"


def test_two_different_numbers_of_nodes_are_an_error(seen: Callable[..., Seen]) -> None:
    assert seen("--slurm=nodes=4").error == (
        "--nnodes 2 and --slurm nodes=4 contradict each other; one is enough"
    )
    assert seen("--slurm=nodes=2").error == ""


def test_the_submitters_hostfile_is_unset_before_the_agents_start(
    seen: Callable[..., Seen],
) -> None:
    """By it they would believe that each of them was started by hand."""
    lines = seen().submitted.splitlines()
    assert lines.index("unset MADRUN_HOSTFILE") < lines.index(lines[-1])


@pytest.mark.parametrize("word", ["--slurm=time=5", "--wait"])
def test_what_is_for_a_batch_job_is_an_error_without_one(
    word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status = run_command([word, "--dry-run", "--no-python", "true"], -1, GuardHandover())
    said = capsys.readouterr().err
    assert (status, said) == (2, "madrun: --slurm and --wait are for --submit slurm only\n")
