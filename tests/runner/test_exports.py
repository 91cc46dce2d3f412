from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from madrun.runner.exports import (
    DEFAULT_NAMES,
    DEFAULT_PREFIXES,
    NEVER,
    is_never,
    refusal,
    select,
)
from madrun.system.errors import InputError

ENVIRON = {
    "NCCL_DEBUG": "INFO",
    "WANDB_API_KEY": "secret",
    "PYTHONPATH": ".",
    "PATH": "/bin",
    "https_proxy": "p",
    "EDITOR": "vi",
    "HOME": "/root",
    "PWD": "/",
    "SSH_AUTH_SOCK": "/s",
    "CUDA_VISIBLE_DEVICES": "0",
    "CUDA_HOME": "/cuda",
    "SLURM_PROCID": "0",
    "SLURM_JOB_ID": "7",
    "OMPI_COMM_WORLD_RANK": "0",
    "TORCHELASTIC_RUN_ID": "x",
    "RANK": "0",
    "MASTER_ADDR": "a",
    "MADRUN_HOSTFILE": "/h",
    "BASH_FUNC_ml%%": "() { id; }",
    "_": "/bin/env",
}


def test_the_usual_ones_travel() -> None:
    assert sorted(select(ENVIRON, ())) == [
        "CUDA_HOME",
        "NCCL_DEBUG",
        "PATH",
        "PYTHONPATH",
        "WANDB_API_KEY",
        "https_proxy",
    ]


def test_settings_of_accelerators_and_frameworks_travel() -> None:
    names = ["FSDP_VERSION", "PARALLELISM_CONFIG_TP_SIZE", "MV2_USE_CUDA", "HCCL_CONNECT_TIMEOUT",
             "ASCEND_LAUNCH_BLOCKING", "CCL_WORKER_COUNT", "TPU_NAME", "NEURON_CC_FLAGS",
             "PJRT_DEVICE", "COMPOSER_X", "TQDM_DISABLE", "USE_LIBUV", "LOGLEVEL", "FORCE_COLOR",
             "TF_CPP_MIN_LOG_LEVEL", "TF_CONFIG"]  # fmt: skip
    assert sorted(select(dict.fromkeys(names, "1"), ())) == sorted(names)


def test_the_password_of_another_program_stays() -> None:
    environ = {"TF_VAR_db_password": "s3cret", "TF_LOG": "x", "ASCEND_RT_VISIBLE_DEVICES": "1"}
    assert select(environ, ()) == {}


def test_everything_is_still_without_what_is_never() -> None:
    chosen = select(ENVIRON, (), everything=True)
    assert chosen.keys() - select(ENVIRON, ()).keys() == {"EDITOR"}


def test_nothing_but_what_is_asked_for() -> None:
    assert select(ENVIRON, ["EDITOR"], prefixes=(), names=()) == {"EDITOR": "vi"}


@pytest.mark.parametrize(
    ("export", "chosen"),
    [
        ("EDITOR", {"EDITOR": "vi"}),
        ("EDITOR=emacs -nw", {"EDITOR": "emacs -nw"}),
        ("NEW=a=b\nc", {"NEW": "a=b\nc"}),
        ("NEW=*", {"NEW": "*"}),
        ("NEW=", {"NEW": ""}),
        ("CUDA_*", {"CUDA_HOME": "/cuda"}),
        ("NOTHING_*", {}),
        ("SLURM_JOB_ID", {"SLURM_JOB_ID": "7"}),
        ("SLURM_JOB_ID=8", {"SLURM_JOB_ID": "8"}),
        ("TMPDIR=/scratch", {"TMPDIR": "/scratch"}),
        ("BASH_FUNC_ml%%", {"BASH_FUNC_ml%%": "() { id; }"}),
    ],
)
def test_what_is_asked_for(export: str, chosen: dict[str, str]) -> None:
    assert select(ENVIRON, [export], prefixes=(), names=()) == chosen


def test_a_lone_star_is_everything_that_may_travel() -> None:
    assert select(ENVIRON, ["*"]) == select(ENVIRON, (), everything=True)


def test_the_later_export_wins() -> None:
    assert select(ENVIRON, ["A=1", "A=2", "NCCL_DEBUG=WARN", "NCCL_*"]).items() >= {
        ("A", "2"),
        ("NCCL_DEBUG", "INFO"),
    }


@pytest.mark.parametrize(
    ("export", "reason"),
    [
        ("TYPO", "it is not set here"),
        ("", "it is not set here"),
        ("=x", "not a variable name"),
        ("A B=x", "not a variable name"),
        ("1A=x", "not a variable name"),
        ("RANK", "madrun sets it"),
        ("WORLD_SIZE=4", "madrun sets it"),
        ("MASTER_ADDR=x", "madrun sets it"),
        ("MADRUN_JOB_ID=x", "madrun sets it"),
        ("HOME", "belongs to the login"),
        ("PWD=/x", "belongs to the login"),
        ("SSH_AUTH_SOCK", "belongs to the login"),
        ("DISPLAY=:0", "belongs to the login"),
        ("SLURM_*", "belong to this machine"),
        ("SSH_*", "belong to this machine"),
        ("*_DEBUG*", "only a prefix may have a star"),
    ],
)
def test_refusals(export: str, reason: str) -> None:
    with pytest.raises(InputError, match=reason) as caught:
        select(ENVIRON, [export])
    assert str(caught.value).startswith("--export ")
    assert "\n" not in str(caught.value)


def test_a_refused_value_is_not_shown() -> None:
    for export in ("RANK=hunter2", "BAD NAME=hunter2"):
        with pytest.raises(InputError) as caught:
            select({}, [export])
        assert "hunter2" not in str(caught.value)


def test_no_variable_is_usual_and_never() -> None:
    assert not [name for name in DEFAULT_NAMES if is_never(name)]
    assert not [prefix for prefix in DEFAULT_PREFIXES if f"{prefix}*" in NEVER]
    assert len(set(NEVER)) == len(NEVER)
    assert len(set(DEFAULT_PREFIXES)) == len(DEFAULT_PREFIXES)


def test_what_is_refused_is_never() -> None:
    refused = [name.rstrip("*") for name in NEVER if refusal(name.rstrip("*"))]
    assert {"RANK", "MASTER_PORT", "HOME", "SSH_", "DISPLAY"} <= set(refused)
    assert refusal("NCCL_DEBUG") is None
    assert refusal("CUDA_VISIBLE_DEVICES") is not None


@given(st.dictionaries(st.text(max_size=9), st.text(max_size=3)), st.text(max_size=12))
def test_anything_is_a_choice_or_a_refusal(environ: dict[str, str], export: str) -> None:
    message = ""
    try:
        chosen = select(environ, [export], everything=True)
    except InputError as error:
        message = str(error)
    else:
        assert not {"HOME", "RANK"} & chosen.keys()
    assert "\n" not in message
