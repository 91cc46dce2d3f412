"""The batch script of ``--submit slurm``: its options, its quoting, and what is refused."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from madrun.runner.plan import Request
from madrun.runner.submit.sbatch import Batch, script
from madrun.runner.submit.submit import batch_of
from madrun.system.errors import InputError

ENVIRON = {"HOME": "/nowhere", "NCCL_DEBUG": "INFO"}


def made(tmp_path: Path, **fields: object) -> list[str]:
    """The lines of a script."""
    request = Request(**{"argv": ("train.py",), "submit": "slurm", **fields})  # type: ignore[arg-type]
    return script(batch_of(request, ENVIRON, str(tmp_path), "/opt/python")).splitlines()


def test_every_setting_is_there(tmp_path: Path) -> None:
    settings = {
        "partition": "gpu", "nodes": "4", "gpus_per_node": "8", "cpus_per_task": "16",
        "time": "1-0:00:00", "exclusive": "true", "exclude": "n1,n2", "constraint": "a&[b|c]",
        "nodelist": "a,b", "qos": "high", "account": "me", "reservation": "r1", "mem": "64G",
        "mail_user": "u@x", "mail_type": "ALL", "output_dir": "my logs",
    }  # fmt: skip
    lines = made(tmp_path, slurm=settings, nnodes=4, backend_args="--signal=B:USR1@60 --begin=now")
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
    lines = made(tmp_path, slurm=slurm, slurm_settings=("time=20", "gpus-per-node=2"))
    assert {"#SBATCH --time=20", "#SBATCH --partition=a", "#SBATCH --gpus-per-node=2"} <= set(lines)


def test_the_program_and_its_words_are_quoted(tmp_path: Path) -> None:
    argv = ("my train.py", "$(id)", "it's", "a\nb", "", "`x`", "--nodes=9")
    text = "\n".join(made(tmp_path, argv=argv, nproc_per_node=2, mode="exec", grace=5.0))
    last = shlex.split(text[text.index("exec srun") :])
    assert tuple(last[-len(argv) :]) == argv
    place = last.index("madrun.agent")
    assert last[place + 1 : -len(argv)] == [
        "--nproc-per-node=2", "--grace=5.0", "--no-python", f"--workdir={tmp_path}", "--",
    ]  # fmt: skip


def test_variables_travel_in_the_script_and_on_no_command_line(tmp_path: Path) -> None:
    value = "a$(echo pwned)b \"q\" 'x'\n"
    text = "\n".join(made(tmp_path, env={"MAD_X": value}, exports=("SECRET=s 3",)))
    assert f"export MAD_X={shlex.quote(value)}" in text
    assert "export SECRET='s 3'" in text
    assert "pwned" not in text[text.index("exec srun") :]


def test_modules_want_a_login_shell(tmp_path: Path) -> None:
    lines = made(tmp_path, slurm={"modules": '["cuda/12.4", "a b"]'})
    assert lines[0] == "#!/bin/bash -l"
    assert {"module load cuda/12.4", "module load 'a b'"} <= set(lines)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"hosts": "a"}, "Slurm chooses the hosts"),
        ({"slurm_settings": ("tme=1",)}, "did you mean 'time'"),
        ({"slurm_settings": ("nodes=0",)}, "nodes"),
        ({"backend_args": "'x"}, "--backend-args"),
        ({"launcher": "nothing"}, "nknown launcher"),
        ({"slurm": {"partition": 'a"b'}}, "no quotes"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_submitted(
    tmp_path: Path, fields: dict[str, object], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        made(tmp_path, **fields)


def test_a_line_end_in_a_setting_makes_no_second_option() -> None:
    with pytest.raises(InputError, match="line ends"):
        script(Batch(1, {"time": "5\n#SBATCH --uid=0"}, "/x/%j.out", (), {}, ("madagent",)))
