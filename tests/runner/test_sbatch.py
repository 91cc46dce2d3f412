"""The batch script of ``--submit slurm``: its options, its quoting, and what is refused."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from madrun.runner.plan import make_plan
from madrun.runner.submit.sbatch import Batch, script
from madrun.runner.submit.submit import batch_of, submit
from madrun.system.errors import InputError
from support.requests import request_of

ENVIRON = {"HOME": "/nowhere", "NCCL_DEBUG": "INFO"}


def made(
    tmp_path: Path,
    argv: tuple[str, ...] = ("train.py",),
    section: Mapping[str, str] = MappingProxyType({}),
    env: Mapping[str, str] = MappingProxyType({}),
    **options: object,
) -> list[str]:
    """The lines of a script; ``section`` and ``env`` are a config's."""
    request = request_of(*argv, submit="slurm", **options)
    request = request._replace(
        submit=request.submit._replace(section=section),
        environment=request.environment._replace(section=env),
    )
    return script(batch_of(request, ENVIRON, str(tmp_path), "/opt/python")).splitlines()


def test_every_setting_is_there(tmp_path: Path) -> None:
    settings = {
        "partition": "gpu", "nodes": "4", "gpus_per_node": "8", "cpus_per_task": "16",
        "time": "1-0:00:00", "exclusive": "true", "exclude": "n1,n2", "constraint": "a&[b|c]",
        "nodelist": "a,b", "qos": "high", "account": "me", "reservation": "r1", "mem": "64G",
        "mail_user": "u@x", "mail_type": "ALL", "output_dir": "my logs",
    }  # fmt: skip
    lines = made(
        tmp_path, section=settings, nnodes=4, backend_args="--signal=B:USR1@60 --begin=now"
    )
    for wanted in (
        "--nodes=4", "--ntasks-per-node=1", "--partition=gpu", "--account=me", "--qos=high",
        "--reservation=r1", "--time=1-0:00:00", "--gpus-per-node=8", "--cpus-per-task=16",
        "--mem=64G", "--constraint=a&[b|c]", "--nodelist=a,b", "--exclude=n1,n2",
        "--mail-user=u@x", "--mail-type=ALL", "--exclusive", "--signal=B:USR1@60", "--begin=now",
        f'--output="{tmp_path}/my logs/slurm-%j.out"',
    ):  # fmt: skip
        assert f"#SBATCH {wanted}" in lines
    assert "--kill-on-bad-exit=1" in lines[-1]
    assert "--cpus-per-task=16" in lines[-1]


def test_what_is_typed_wins_over_the_config(tmp_path: Path) -> None:
    slurm = {"time": "10", "partition": "a"}
    lines = made(tmp_path, section=slurm, slurm=("time=20", "gpus-per-node=2"))
    assert {"#SBATCH --time=20", "#SBATCH --partition=a", "#SBATCH --gpus-per-node=2"} <= set(lines)


def test_the_program_and_its_words_are_quoted(tmp_path: Path) -> None:
    argv = ("my train.py", "$(id)", "it's", "a\nb", "", "`x`", "--nodes=9")
    text = "\n".join(made(tmp_path, argv=argv, nproc_per_node=2, no_python=True, grace=5.0))
    last = shlex.split(text[text.index("exec srun") :])
    assert tuple(last[-len(argv) :]) == argv
    place = last.index("madrun.agent")
    assert last[place + 1 : -len(argv)] == [
        "--nproc-per-node=2", "--no-python", "--grace=5.0", f"--workdir={tmp_path}", "--",
    ]  # fmt: skip


def test_values_of_variables_are_not_in_the_script(tmp_path: Path) -> None:
    env = {"MAD_X": "a$(echo pwned)b", "TF_FOO.BAR": "x", "NCCL_x;touch /tmp/evil;": "1"}
    text = "\n".join(made(tmp_path, env=env, export=("SECRET=s 3",)))
    assert "# From the environment of sbatch: MAD_X NCCL_DEBUG SECRET (" in text
    assert [word for word in ("pwned", "s 3", "INFO", "touch", "TF_FOO") if word in text] == []


def test_values_are_written_where_they_are_asked_for(tmp_path: Path) -> None:
    value = "a$(echo pwned)b \"q\" 'x'\n"
    request = request_of("x")
    env = {"MAD_X": value, "A;touch /tmp/evil;": "1"}
    request = request._replace(environment=request.environment._replace(section=env))
    batch = batch_of(request, {}, str(tmp_path), "py")
    text = script(batch, show_values=True)
    assert f"export MAD_X={shlex.quote(value)}" in text
    assert "touch" not in text
    assert "pwned" not in text[text.index("exec srun") :]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"launcher": "sglang-disagg", "argv": ("M",), "nnodes": 2}, "requires minimum 3 nodes"),
        ({"launcher": "megatron", "launcher_opt": ("tensor_parallel_size=5",), "nproc_per_node": 8},
         "5"),
        ({"launcher": "primus", "nnodes": 2}, "config_path"),
        ({"launcher": "sglang-disagg", "argv": ("M",), "nnodes": 7,
          "launcher_opt": ("prefill_nodes=4", "decode_nodes=3")}, "must equal nnodes"),
    ],
)  # fmt: skip
def test_the_launcher_is_planned_before_the_queue(
    tmp_path: Path, fields: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        made(tmp_path, **fields)


def test_modules_want_a_login_shell(tmp_path: Path) -> None:
    lines = made(tmp_path, section={"modules": '["cuda/12.4", "a b"]'})
    assert lines[0] == "#!/bin/bash -l"
    assert {"module load cuda/12.4", "module load 'a b'"} <= set(lines)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"hosts": "a"}, "Slurm chooses the hosts"),
        ({"slurm": ("tme=1",)}, "did you mean 'time'"),
        ({"slurm": ("nodes=0",)}, "nodes"),
        ({"backend_args": "'x"}, "--backend-args"),
        ({"launcher": "nothing"}, "nknown launcher"),
        ({"section": {"partition": 'a"b'}}, "no quotes"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_submitted(
    tmp_path: Path, fields: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        made(tmp_path, **fields)


def test_a_line_end_in_a_setting_makes_no_second_option() -> None:
    with pytest.raises(InputError, match="line ends"):
        script(Batch(1, {"time": "5\n#SBATCH --uid=0"}, "/x/%j.out", (), {}, ("madagent",)))


def test_a_script_that_submits_itself_is_told_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run.sh").write_text("#!/bin/sh\n# not: sbatch x\nif :\nthen\n  sbatch job\nfi\n")
    request = request_of("run.sh", hosts="a:1,b:1", dry_run=True)
    notes = make_plan(request, {}, str(tmp_path), "py").notes
    assert notes == ("run.sh calls sbatch, and every node runs it: call it without madrun",)
    request = request_of("run.sh", submit="slurm", nnodes=2, dry_run=True)
    assert submit(request, {}, str(tmp_path), "py") == 0
    assert capsys.readouterr().err == f"madrun: {notes[0]}\n"
