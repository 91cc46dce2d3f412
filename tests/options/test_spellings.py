"""What people type who come from other programs has its meaning, or is told what to write."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import click
import pytest

from madrun.options.request import fields, value_of
from madrun.options.spellings import ACCEPTED, REFUSED
from madrun.runner.cli import command, parsed
from madrun.runner.plan import make_plan
from support.here import planned, refused

REFUSALS = [(name, row) for row in REFUSED for name in row.names.split()]


@pytest.mark.parametrize(("name", "row"), REFUSALS, ids=lambda value: str(value)[:30])
def test_what_is_not_ours_is_told_what_to_write(name: str, row: Any) -> None:
    words = [name] if row.flag else [name, "2"]
    for spelling in ([*words], [name.replace("-", "_").replace("__", "--", 1), *words[1:]]):
        if not spelling[0].startswith("-"):
            continue
        with pytest.raises(click.UsageError) as caught:
            parsed(["--dry-run", *spelling, "x.py"])
        assert caught.value.format_message() == f"{name}: {row.advice}"


@pytest.mark.parametrize("name", [name for row in ACCEPTED for name in row.names.split()])
def test_what_asks_for_the_usual_changes_nothing(name: str) -> None:
    flag = next(row.flag for row in ACCEPTED if name in row.names.split())
    assert parsed([name, *([] if flag else ["x"]), "x.py"]) == parsed(["x.py"])


@pytest.mark.parametrize(
    ("words", "key", "value"),
    [
        (["-x", "A=1", "-x", "NCCL_*"], "export", ("A=1", "NCCL_*")),
        (["--host", "a:2,b:2"], "hosts", "a:2,b:2"),
        (["--nproc_per_node=gpu"], "nproc_per_node", "gpu"),
        (["--num_gpus", "2"], "nproc_per_node", 2),
        (["--num_nodes", "2"], "nnodes", 2),
        (["--enable_each_rank_log", "logs"], "log_dir", "logs"),
        (["--log_dir", "logs"], "log_dir", "logs"),
        (["--launcher_args", "x"], "backend_args", "x"),
        (["--ssh_port", "22"], "ssh_port", 22),
    ],
)
def test_what_means_the_same_is_understood(words: list[str], key: str, value: object) -> None:
    assert value_of(parsed([*words, "x.py"]), key) == value


def test_no_spelling_is_there_twice() -> None:
    own = [name for field in fields().values() for name in field.option.names.split()]
    foreign = [name for row in (*ACCEPTED, *REFUSED) for name in row.names.split()]
    assert len({*own, *foreign}) == len(own) + len(foreign)


def test_an_activate_script_names_its_python() -> None:
    request = parsed(["--venv_script", "/envs/a/bin/activate", "--hosts", "a:1", "x.py"])
    assert make_plan(request, {}, "/", "py").spec.python == "/envs/a/bin/python"


def test_force_multi_logs_in_to_this_machine() -> None:
    assert planned("--force_multi", "--hosts", "localhost:1")["backend"] == "ssh"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-H", "localhost:2"], "(a list of hosts is --hosts localhost:2)"),
        (["--nnodes", "1:4"], "elastic jobs come in a later version"),
        (["--nproc-per-node", "many"], "neither a whole number nor one of auto, gpu, cpu"),
        (["--bind-core-list", ""], "--bind-core-list: core list: '' is neither"),
    ],
)
def test_near_misses_have_a_hint(words: list[str], said: str) -> None:
    assert said in refused(*words)


@pytest.mark.parametrize(
    ("typed", "argv"),
    [
        (["python", "t.py", "--lr", "1"], ["python", "-u", "t.py", "--lr", "1"]),
        (["/usr/bin/python3.11", "-m", "pkg"], ["/usr/bin/python3.11", "-u", "-m", "pkg"]),
        (["--launcher", "torchrun", "python", "t.py"], ["torchrun", "--standalone",
                                                        "--nproc_per_node=1", "t.py"]),
        (["--launcher", "torchrun", "python3", "-m", "pkg"], ["torchrun", "--standalone",
                                                              "--nproc_per_node=1", "-m", "pkg"]),
    ],
)  # fmt: skip
def test_python_before_the_program_is_what_is_meant(typed: list[str], argv: list[str]) -> None:
    request = parsed(["--dry-run", "--hosts", "localhost:1", *typed])
    plan = make_plan(request, {}, "/", "/py")
    from madrun.runner.dry_run import as_object

    assert as_object(plan)["nodes"][0]["processes"][0]["argv"] == argv


def test_the_help_has_headings_examples_and_the_names_that_there_are() -> None:
    text = command.get_help(command.make_context("madrun", [], resilient_parsing=True))
    for heading in ("Where it runs:", "What is run:", "Logging in:", "Output:", "Examples:"):
        assert f"\n{heading}\n" in text
    words = " ".join(text.split())
    assert "native, primus, sglang," in words
    assert "local, ssh," in words
    assert "--rdzv" not in text


def test_python_m_madrun_is_madrun() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "madrun", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("madrun ")
