"""Config files: what is read, what wins, what is refused, and that each value knows its origin."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from madrun.options.request import Request
from madrun.runner import cli
from madrun.runner.config import file as config_file
from madrun.runner.description import described
from madrun.runner.dry_run import describe
from madrun.runner.plan import Plan, make_plan
from madrun.system.errors import InputError
from support.here import madrun

NASTY = "a$(echo pwned)b \"q\" 'x'\n\\t#\t ü"

FORMS = {
    "job.json": '{"distributed": {"nnodes": 2, "port": 400}, "env_vars": {"A": "1.10"}}',
    "job.toml": 'env_vars = {A = "1.10"}\n[distributed]\nnnodes = "2"\nport = 400\n',
    "job.yaml": "distributed:\n  nnodes: 2\n  port: 400\n  launcher: ~\nenv_vars:\n  A: 1.10\n",
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder; no Slurm job is around."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    return tmp_path


def request_of(config: object, *words: str, program: str | None = "train.py") -> Request:
    """The request of a command line with this content as its config."""
    Path("job.json").write_text(json.dumps(config), encoding="utf-8")
    argv = ["--config", "job.json", *words, *([program] if program else [])]
    request = cli.parsed(argv)
    assert isinstance(request, Request)
    return request


def plan_of(config: object, *words: str) -> Plan:
    request = request_of(config, "--dry-run", "--hosts", "a:8,b:8,c:8", *words)
    return make_plan(request, {}, "/", "py")


# ---- forms


@pytest.mark.parametrize("name", FORMS)
def test_the_three_forms_say_the_same(name: str) -> None:
    Path(name).write_text(FORMS[name], encoding="utf-8")
    request = cli.parsed(["--config", name, "x"])
    assert (request.selection.nnodes, request.master.port, request.environment.section) == (
        2,
        400,
        {"A": "1.10"},
    )
    assert request.origins["master_port"] == f"{name}: distributed.master_port"


def test_yaml_scalars_are_what_is_written() -> None:
    text = "env_vars: {A: 012, B: 12:30, C: 1_000, D: yes, E: 1e-5, F: '~', G: ~}\n"
    Path("job.yml").write_text(text, encoding="utf-8")
    request = cli.parsed(["--config", "job.yml", "x"])
    expected = {"A": "012", "B": "12:30", "C": "1_000", "D": "yes", "E": "1e-5", "F": "~"}
    assert request.environment.section == expected


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("job.json", '{"slurm": {}, "slurm": {}}', "the key 'slurm' stands there twice"),
        ("job.json", "{", "Expecting property name"),
        ("job.json", "[]", "sections are wanted, not a list"),
        ("job.json", '{"n_gpus": NaN}', "NaN is not a number"),
        ("job.json", "[" * 100_000, "nested too deeply"),
        ("job.json", "\xff", "can't decode byte"),
        ("job.toml", "a = = 1", "Invalid value"),
        ("job.toml", "[slurm]\n[slurm]\n", "twice"),
        ("job.yaml", "slurm: {a", "line 1: expected"),
        ("job.yaml", "slurm: {}\nslurm: {}\n", "stands there twice"),
        ("job.yaml", "? [a]\n: 1\n", "line 1: a key must be a text"),
        ("job.yaml", "&a [*a]", "line 1: found unconstructable recursive node"),
        ("job.yaml", "!!python/object:os.system {}", "line 1: the tag"),
        ("job.ini", "", "ends in .json, .toml, .yaml or .yml"),
        ("none.json", None, "No such file or directory"),
    ],
)
def test_what_is_no_config(name: str, text: str | None, words: str) -> None:
    if text is not None:
        Path(name).write_text(text, encoding="latin-1")
    with pytest.raises(InputError) as caught:
        config_file.read(name)
    message = str(caught.value)
    assert message.startswith(f"--config {name}: ")
    if name != "job.toml":  # Python's and tomli's own words differ
        assert words in message
    assert "\n" not in message


def test_yaml_without_pyyaml_is_one_error(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("job.yaml").write_text("", encoding="utf-8")
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(InputError, match="PyYAML is needed: pip install pyyaml"):
        config_file.read("job.yaml")


@pytest.mark.parametrize(
    ("text", "content"),
    [
        ("{'a': {'b': [1, -2, 'x', true, null, None, False]}}",
         {"a": {"b": [1, -2, "x", True, None, None, False]}}),
        ('{"a": "it\'s", "b": false}', {"a": "it's", "b": False}),
        ("{'a': ('x', 'y' 'z'),}", {"a": ["x", "yz"]}),
        ("{}", {}),
    ],
)  # fmt: skip
def test_inline_text(text: str, content: dict[str, Any]) -> None:
    assert config_file.inline(text) == content


@pytest.mark.parametrize(
    "text",
    ["{'a': __import__('os').system('touch pwned')}", "{'a': f'{1}'}", "{**{}}", "{1: 2}",
     "{'a': 1, 'a': 2}", "{'a': [x for x in y]}", "'a'", "", "{'a': b'x'}", "{'a': 1j}",
     "{'a': 2 ** 99999999}", "(" * 500, "{'a'", "{'a': '\\ud800'"],
)  # fmt: skip
def test_inline_text_is_never_evaluated(text: str, folder: Path) -> None:
    with pytest.raises(InputError, match=r"^--additional-context: "):
        config_file.inline(text)
    assert not (folder / "pwned").exists()


# ---- what wins


def test_typed_beats_inline_beats_file_beats_default() -> None:
    config = {"distributed": {"nnodes": 3, "nproc_per_node": 4, "master_port": 1000}}
    inline = "{'distributed': {'nproc_per_node': '2', 'nnodes': 2}}"
    plan = plan_of(config, "--additional-context", inline, "--nnodes", "1")
    request = plan.request
    assert (request.selection.nnodes, request.selection.nproc_per_node, request.master.port) == (
        1,
        2,
        1000,
    )
    assert request.limits.heartbeat == 5.0
    assert request.origins["nnodes"] == (
        "the command line, over --additional-context: distributed.nnodes"
    )
    assert request.origins["nproc_per_node"] == "--additional-context: distributed.nproc_per_node"
    assert request.origins["master_port"] == "job.json: distributed.master_port"


def test_the_later_file_wins_key_by_key(folder: Path) -> None:
    (folder / "site.json").write_text('{"distributed": {"nnodes": 1, "nproc_per_node": 5}}')
    request = request_of({"distributed": {"nnodes": 2}}, "--config", "site.json")
    assert (request.selection.nnodes, request.selection.nproc_per_node) == (1, 5)
    request = request_of({"distributed": {"nproc_per_node": 2}}, "--additional-context", "{}")
    assert request.selection.nproc_per_node == 2


def test_variables_travel_byte_for_byte_and_exports_beat_them(folder: Path) -> None:
    config = {
        "context": {"env_vars": {"A": "context", "B": "context"}},
        "env_vars": {"A": NASTY, "NUMBER": 7},
        "distributed": {"backend": "nccl"},
    }
    (folder / ".madrun_env").write_text("A=file\nFROM_FILE=1\n")
    (folder / "named").write_text("B=named\n")
    request = request_of(config, "--hosts", "a", "--env-file", "named")
    env = make_plan(request, {}, str(folder), "py").spec.env
    assert env["A"] == NASTY
    assert (env["B"], env["NUMBER"], env["FROM_FILE"]) == ("named", "7", "1")
    assert env["DISTRIBUTED_BACKEND"] == "nccl"
    assert plan_of(config, "--export", "A=typed").spec.env["A"] == "typed"


def test_options_are_those_of_the_launcher_that_runs() -> None:
    config = {
        "distributed": {
            "launcher": "Megatron-LM",
            "megatron": {"tensor_parallel_size": 2, "inject_args": True},
            "vllm": {"model": "M", "args": "--max-model-len 10 'a b'"},
        }
    }
    assert request_of(config).program.launcher == "megatron"
    assert request_of(config).program.section == {
        "tensor_parallel_size": "2",
        "inject_args": "true",
    }
    typed = request_of(config, "--launcher", "vllm")
    assert json.loads(typed.program.section["args"]) == ["--max-model-len", "10", "a b"]
    spec = plan_of(config, "--launcher-opt", "tensor_parallel_size=4").spec
    assert spec.options["tensor_parallel_size"] == "4"


def test_the_program_may_stand_in_the_config() -> None:
    config = {"model": {"name": "m", "scripts": "scripts/run.sh", "args": "--model 'a b'"}}
    assert request_of(config, program=None).program.argv == ("scripts/run.sh", "--model", "a b")
    assert request_of(config).program.argv == ("train.py",)
    done = madrun("--config", "job.json", "--dry-run")
    assert done.returncode == 0, done.stderr


def test_slurm_args_are_a_disaggregated_server() -> None:
    config = {
        "slurm_args": {
            "FRAMEWORK": "sglang_disagg",
            "PREFILL_NODES": "2",
            "DECODE_NODES": 1,
            "PARTITION": "gpu",
            "TIME": "1:00:00",
            "DOCKER_IMAGE": "image:1",
        },
        "model": {"scripts": "run.sh", "args": ["--model", "org/M"]},
    }
    request = request_of(config, program=None)
    assert (request.program.launcher, request.selection.nnodes, request.submit.scheduler) == (
        "sglang-disagg",
        4,
        "slurm",
    )
    assert request.program.section == {"prefill_nodes": "2", "decode_nodes": "1"}
    assert request.submit.section == {"partition": "gpu", "time": "1:00:00"}
    assert request.environment.section == {"DOCKER_IMAGE": "image:1", "MODEL_NAME": "org/M"}
    newer = request_of({**config, "slurm": {"partition": "other"}}, program=None)
    assert newer.submit.section["partition"] == "other"


def test_where_a_config_with_slurm_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    config = {"slurm": {"nodes": 2, "gpus_per_node": 4, "nodelist": " a , b,"}}
    request = request_of(config)
    assert (
        request.submit.scheduler,
        request.selection.nnodes,
        request.selection.nproc_per_node,
    ) == ("slurm", 2, 4)
    assert request.submit.section["nodelist"] == "a,b"
    assert request_of(config, "--hosts", "a:8,b:8").submit.scheduler == ""
    assert request_of(config, "--backend", "srun").submit.scheduler == ""
    monkeypatch.setenv("SLURM_JOB_ID", "7")  # the allocation is there already
    assert request_of(config).submit.scheduler == ""


# ---- what is refused


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"distributed": {"nnodes": 0}}, "distributed: Invalid nnodes: 0. Must be positive int"),
        ({"distributed": {"nnodes": True}}, "Invalid nnodes: true. Must be positive integer >= 1"),
        ({"distributed": {"nproc_per_node": "x"}}, "Invalid nproc_per_node: 'x'. Must be positive"),
        ({"distributed": {"nproc_per_node": 1.0}}, "Invalid nproc_per_node: 1.0."),
        ({"distributed": {"port": 65536}}, "port must be 1-65535, got 65536"),
        ({"distributed": {"master_port": 0}}, "master_port must be 1-65535, got 0"),
        ({"distributed": {"port": 1, "master_port": 2}}, "'port' and 'master_port' are the same"),
        ({"distributed": {"nnode": 2}}, "distributed: unknown key 'nnode'; did you mean 'nnodes'?"),
        ({"distribute": {}}, "job.json: unknown key 'distribute'; did you mean 'distributed'?"),
        ({"distributed": {"vllm": {"modes": "ray"}}}, "distributed.vllm: unknown key 'modes'"),
        ({"distributed": {"vllm": {"mode": "rays"}}}, "distributed.vllm: mode must be one of"),
        ({"distributed": {"launcher": "xyz"}}, "Unknown launcher type 'xyz'. Use one of: "),
        ({"distributed": []}, "distributed must be a section, got a list"),
        ({"distributed": {"launcher": {}}}, "launcher must be a text, got a section"),
        ({"env_vars": {"A": True}}, "env_vars: A must be a text; write it in quotes"),
        ({"env_vars": {"A": 1.1}}, "env_vars: A must be a text; write it in quotes"),
        ({"env_vars": {"A B": "x"}}, "env_vars: 'A B' is not a variable name"),
        ({"env_vars": {"A": "x\0"}}, "holds a NUL byte"),
        ({"env_vars": {"A": "\ud800"}}, "half a character"),
        ({"env_vars": {"RANK": "0"}}, "env_vars.RANK: it cannot be set there: madrun sets it"),
        ({"slurm": {"nodes": 2}, "distributed": {"nnodes": 3}}, "they must agree"),
        ({"slurm": {"gpus_per_node": 4}, "distributed": {"nproc_per_node": 8}}, "nproc_per_node"),
        ({"k8s": {"gpu_count": 1}, "distributed": {"nproc_per_node": 2}}, "k8s.gpu_count is 1"),
        ({"k8s": {}, "slurm": {}}, "Both 'k8s' and 'slurm' fields present"),
        ({"k8s": {}, "kubernetes": {}}, "'k8s' and 'kubernetes' are the same; one is enough"),
        ({"k8s": {"tolerations": [{"keys": 1}]}}, "tolerations[0]: unknown key 'keys'; did you"),
        ({"k8s": {"memory": "1GB"}}, "k8s: memory must be an amount as 16Gi, 500m or 8, got"),
        ({"deploy": "slurm"}, "'deploy' field is 'slurm' but no 'slurm' config present"),
        ({"deploy": "k8s"}, "'deploy' field is 'k8s' but no 'k8s' config present"),
        ({"deploy": "local", "slurm": {}}, "'deploy' field is 'local' but k8s/slurm config pres"),
        ({"deploy": "cloud"}, "deploy must be one of local, slurm, k8s; got 'cloud'"),
        ({"slurm": {"exclusive": 2}}, "slurm: exclusive must be true or false, got 2"),
        ({"slurm": {}, "hosts": "a"}, "'hosts' and 'slurm' are two places to run"),
        ({"multi_node_args": {"NNODES": 2}}, "NODE_RANK is needed: which of the 2 nodes is this?"),
        ({"multi_node_args": {"NNODES": 2, "NODE_RANK": 2}}, "this job has nodes 0-1"),
        ({"multi_node_args": {"NNODES": 2, "NODE_RANK": 0}}, "MASTER_ADDR is needed"),
        ({"multi_node_args": {"RUNNER": "mpirun", "NNODES": 2}}, "HOST_LIST is needed"),
        ({"multi_node_args": {"HOST_LIST": "a:x", "NODE_RANK": 0}}, "HOST_LIST: 'a:x': slots must"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line(config: object, words: str) -> None:
    with pytest.raises(InputError) as caught:
        request_of(config)
    message = str(caught.value)
    assert caught.value.exit_status == 2
    assert words in message
    assert "\n" not in message


def test_a_value_that_may_be_a_secret_is_not_shown() -> None:
    for secret in (["hunter2"], {"hunter2": 1}, "hunter2\0"):
        with pytest.raises(InputError) as caught:
            request_of({"env_vars": {"TOKEN": secret}})
        assert "hunter2" not in str(caught.value)


def test_the_command_says_a_mistake_and_ends_with_2() -> None:
    done = madrun("--additional-context", "{'slurm': {'node': 1}}", "x")
    assert (done.returncode, done.stdout) == (2, "")
    expected = "--additional-context: slurm: unknown key 'node'; did you mean 'nodes'?"
    assert done.stderr == f"madrun: {expected}\n"


# ---- where it came from


def test_the_plan_says_where_values_came_from() -> None:
    config = {"distributed": {"nnodes": 2, "backend": "nccl"}, "env_vars": {"TOKEN": "hunter2"}}
    plan = plan_of(config, "--nproc-per-node", "1", "--additional-context", str(config))
    text = describe(plan, as_json=False)
    assert "  nnodes = 2    (--additional-context: distributed.nnodes)\n" in text
    assert "  env_vars.TOKEN    (--additional-context: env_vars.TOKEN)" in text
    assert "hunter2" not in text
    record = described(plan)
    assert record["origins"]["nproc_per_node"] == "the command line"
    assert record["exported"] == ["DISTRIBUTED_BACKEND", "TOKEN"]
    assert "hunter2" not in json.dumps(record)
    assert json.loads(describe(plan, as_json=True))["origins"] == record["origins"]


def test_without_a_config_what_was_typed_is_known() -> None:
    request = cli.parsed(["--hosts", "a", "x"])
    assert request.origins == {"hosts": "the command line"}


def test_a_node_by_hand_and_its_defaults() -> None:
    args = {"NNODES": 2, "NODE_RANK": "1", "MASTER_ADDR": "a", "MAD_RUNTIME_NGPUS": 4}
    request = request_of({"multi_node_args": args, "n_gpus": 8})
    assert (request.place.node_rank, request.selection.nnodes, request.master.port) == (1, 2, 6006)
    assert request.selection.hosts == "node0:4,node1:4"
    named = request_of({"multi_node_args": {**args, "HOST_LIST": "x,[fd00::1]"}})
    assert named.selection.hosts == "x:4,[fd00::1]:4"
    typed = request_of({"multi_node_args": args}, "--master-port", "7", "--hosts", "a:9,b:9")
    assert (typed.master.port, typed.selection.hosts) == (7, "a:9,b:9")


def test_nothing_of_this_is_loaded_without_a_config() -> None:
    code = (
        "import sys; from madrun.runner.cli import parsed;"
        "parsed(['--hosts', 'a', 'x']);"
        "print([name for name in sys.modules if 'config' in name and 'madrun' in name])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_variables_arrive_in_a_worker_as_they_are() -> None:
    Path("job.json").write_text(json.dumps({"env_vars": {"A": NASTY}}), encoding="utf-8")
    show = "import os; print(ascii(os.environ['A']))"
    done = madrun("--config", "job.json", "--hosts", "localhost", "--no-python", sys.executable,
                  "-c", show)  # fmt: skip
    assert done.stdout == f"[localhost:0] {NASTY!a}\n", done.stderr
