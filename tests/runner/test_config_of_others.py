"""Config files that were written for other programs, and what is said of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from madrun.options.request import Request
from madrun.runner import cli
from madrun.runner.plan import make_plan
from madrun.system.errors import InputError


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)


def request_of(text: str, *words: str) -> Request:
    Path("job.json").write_text(text, encoding="utf-8")
    return cli.parsed(["--config", "job.json", *words])


def test_keys_that_begin_with_an_underscore_are_comments() -> None:
    content = {
        "_comment": "x",
        "_why": {"a": [1]},
        "distributed": {"_comment": "y", "nnodes": 2},
        "env_vars": {"_comment_1": "z", "_A": "kept"},
    }
    request = request_of(json.dumps(content), "x.py")
    assert request.selection.nnodes == 2
    assert request.environment.section == {"_A": "kept"}


def test_keys_of_madengine_are_notes() -> None:
    content = {
        "guest_os": "UBUNTU", "debug": True, "pre_scripts": [{"path": "a.sh"}], "shared_data": None,
        "slurm": {"results_dir": "/r", "shared_workspace": "/w", "partition": "gpu"},
    }  # fmt: skip
    request = request_of(json.dumps(content), "--hosts", "a:1", "x.py")
    assert request.submit.section == {"partition": "gpu"}
    notes = make_plan(request, {}, "/", "py").notes
    assert [note.partition(" is not used: ")[0] for note in notes] == [
        "job.json: guest_os", "job.json: debug", "job.json: pre_scripts",
        "job.json: slurm.results_dir", "job.json: slurm.shared_workspace",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "text", ['{\n  // why\n  "n_gpus": 1}', '{"n_gpus": 1, # why\n}', '{/* why */ "n_gpus": 1}']
)
def test_comments_in_json_are_told_of(text: str) -> None:
    with pytest.raises(InputError, match=r"job\.json: line [12]: JSON has no comments"):
        request_of(text, "x.py")


def test_a_count_of_a_config_is_named_as_it_stands_there() -> None:
    request = request_of('{"distributed": {"nnodes": 2}}', "--dry-run", "x.py")
    with pytest.raises(InputError) as caught:
        make_plan(request, {}, "/", "py")
    said = str(caught.value)
    assert said.startswith("job.json: distributed.nnodes: 2 nodes: only 1 host to choose from")
    assert "--hosts, --hostfile or a config's hosts" in said
    assert "--nnodes" not in said


def test_all_that_slurm_args_lack_is_one_error() -> None:
    with pytest.raises(InputError) as caught:
        request_of('{"slurm_args": {"PARTITION": "a", "TIME": "1"}}', "run.sh")
    assert str(caught.value) == (
        "job.json: slurm_args: FRAMEWORK, PREFILL_NODES, DECODE_NODES, DOCKER_IMAGE missing;"
        " all are needed"
    )


def test_a_module_of_torchtitan_needs_no_program_on_the_command_line_either() -> None:
    words = ["--hosts", "a:2", "--launcher", "torchtitan", "--launcher-opt", "module=llama3"]
    plan = make_plan(cli.parsed(words), {}, "/", "py")
    assert (plan.spec.argv, plan.spec.mode) == (("torchtitan.train",), "module")
    config = '{"distributed": {"launcher": "torchtitan", "torchtitan": {"module": "llama3"}}}'
    same = make_plan(request_of(config, "--hosts", "a:2"), {}, "/", "py")
    assert (same.spec.argv, same.spec.options) == (plan.spec.argv, plan.spec.options)
