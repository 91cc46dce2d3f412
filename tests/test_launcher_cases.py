"""The conformance cases of tests/cases/launchers.json: each config as a dry run of its program."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from madrun.options.request import Request
from madrun.runner import cli, dry_run
from madrun.runner.plan import make_plan
from madrun.runner.submit import sbatch, submit
from madrun.system.errors import InputError

CASES: dict[str, dict[str, Any]] = {
    case["id"]: case
    for case in json.loads(
        (Path(__file__).parent / "cases" / "launchers.json").read_text(encoding="utf-8")
    )
}
# A case that says nothing of the port expects torch's; ours is a free one unless it is given, so
# here it is given.
USUAL_PORT = ["--master-port", "29500"]
NO_PORT = ("torchrun-slurm-2-rank0", "torchrun-slurm-2-rank1", "primus-exp")
# What we expect instead of the case, and why.
DEVIATIONS: dict[str, dict[str, Any]] = {
    # One of prefill_nodes and decode_nodes given alone: the other is derived.
    "disagg-half-split": {
        "expect_error": None,
        "expect_env": {"SGLANG_DISAGG_PREFILL_NODES": "4", "SGLANG_DISAGG_DECODE_NODES": "2"},
    },
}
SCRIPT = "#!/bin/sh\n"


def nodes_and_slots(config: dict[str, Any]) -> tuple[int, int]:
    """How many hosts the case is about, and with how many slots each."""
    distributed, slurm = config.get("distributed", {}), config.get("slurm", {})
    hosts = len(config.get("hosts", ())) or distributed.get("nnodes") or slurm.get("nodes") or 2
    return hosts, max(distributed.get("nproc_per_node", 1), slurm.get("gpus_per_node", 8))


def words_of(case: dict[str, Any], folder: Path) -> list[str]:
    """The command line of a case, without the program."""
    config = case["input_config"]
    path = folder / "job.json"
    path.write_text(json.dumps(config), encoding="utf-8")
    words = ["--config", str(path), "--dry-run"]
    if case["deploy"] == "infer":  # the launcher is said beside the config
        words += ["--launcher", case["launcher"]]
    return words + (USUAL_PORT if case["id"] in NO_PORT else [])


def program_of(case: dict[str, Any], folder: Path) -> list[str]:
    """run.sh, or nothing where the config names a program; Primus's usual config lies beside."""
    named = case["input_config"].get("model", {}).get("scripts", "")
    script = folder / (named or "run.sh")
    script.parent.mkdir(parents=True, exist_ok=True)
    script.write_text(SCRIPT, encoding="utf-8")
    script.chmod(0o755)
    (folder / "exp_pretrain.yaml").write_text("", encoding="utf-8")
    return [] if named else ["run.sh"]


def request_of(words: list[str]) -> Request:
    request = cli.parsed(words)
    assert isinstance(request, Request)
    return request


def node_of(case: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The dry run of the case's node, on the hosts of the case."""
    words, program = words_of(case, folder), program_of(case, folder)
    hosts, slots = nodes_and_slots(case["input_config"])
    if "multi_node_args" not in case["input_config"]:
        names = case["input_config"].get("hosts") or [f"h{number}" for number in range(hosts)]
        words += ["--hosts", ",".join(f"{name}:{slots}" for name in names)]
    content = dry_run.as_object(
        make_plan(request_of(["--show-values", *words, *program]), {}, str(folder), "py")
    )
    (node,) = (each for each in content["nodes"] if each["node_rank"] == case["node_rank"])
    assert isinstance(node, dict)
    return node


def batch_script(case: dict[str, Any], folder: Path) -> str:
    """What ``--submit slurm --dry-run`` prints."""
    words, program = words_of(case, folder), program_of(case, folder)
    request = request_of([*words, *program])
    assert request.submit.scheduler == "slurm", "a config with the section slurm is submitted"
    return sbatch.script(submit.batch_of(request, {}, str(folder), "py"))


def check_env(found: dict[str, str], expected: dict[str, str | None]) -> None:
    for name, value in expected.items():
        got = found.get(name, "")
        if value is None:
            assert got == "", name
        elif value == "*":
            assert got, name
        else:
            assert got == value.replace("${HOST0}", "h0"), name


@pytest.mark.parametrize("name", CASES)
def test_case(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    case = CASES[name] | DEVIATIONS.get(name, {})
    if case.get("expect_error"):
        with pytest.raises(InputError) as caught:
            node_of(case, tmp_path)
        assert caught.value.exit_status == 2
        assert case["expect_error"] in str(caught.value)
        return
    wanted = [text.replace("${HOST0}", "h0") for text in case.get("expect_command_contains", ())]
    of_script = [text for text in wanted if text.startswith("#SBATCH") or "kill-on-bad" in text]
    if of_script:
        script = batch_script(case, tmp_path)
        assert [text for text in of_script if text not in script] == [], script
    node = node_of(case, tmp_path)
    environments = [process["env"] for process in node["processes"]]
    for env in environments:
        check_env(env, case.get("expect_env", {}))
    commands = [" ".join(process["argv"]) for process in node["processes"]]
    commands += [env.get("MAD_MULTI_NODE_RUNNER", "") for env in environments]
    for text in wanted:
        assert text in of_script or any(text in command for command in commands), commands
    for text in case.get("expect_command_absent", ()):
        assert not any(text in command for command in commands), commands


def test_every_deviation_has_a_case() -> None:
    assert {*DEVIATIONS, *NO_PORT} <= set(CASES)
    assert len(CASES) == 43
