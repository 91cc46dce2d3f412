"""The training launchers: the words of each, degrees that do not fit."""

from __future__ import annotations

import os
from typing import Any

import pytest

from madrun.hosts.devices import NVIDIA, NodeFacts
from madrun.hosts.world import Node, World
from madrun.launchers.deepspeed import plan as deepspeed
from madrun.launchers.launcher import LauncherKind, NodeContext
from madrun.launchers.plan import FILES, NodePlan
from madrun.launchers.primus import backend_of
from madrun.launchers.process_table import process_table
from madrun.launchers.registry import built_in, find
from madrun.options.spec_groups import Master, Workers
from madrun.system.errors import InputError
from madrun.wire.jobspec import EXEC, MODULE, JobSpec

RUNNER = "MAD_MULTI_NODE_RUNNER"


def spec_of(launcher: str, nodes: int, workers: int = 4, **fields: Any) -> JobSpec:
    world = World(tuple(Node(f"h{rank}", tuple(range(workers))) for rank in range(nodes)))
    usual = {"config_path": "exp.yaml"} if launcher == "primus" else {}
    spec = JobSpec(
        job_id="j1",
        world=world,
        argv=("train.py", "--lr", "1e-3", "two words"),
        launcher=launcher,
        python="/venv/bin/python",
        workdir="/work dir",
        env={"MAD_X": "a$(echo pwned)b"},
        options=usual,
    )
    return spec._replace(**fields)


def planned(spec: JobSpec, node_rank: int = 0, facts: NodeFacts | None = None) -> NodePlan:
    facts = facts or NodeFacts(NVIDIA, 8, cores=64)
    return find(spec.launcher).plan(NodeContext(spec, node_rank, "10.0.0.1", 29501, facts))


def words_of(spec: JobSpec, node_rank: int = 0) -> str:
    return planned(spec, node_rank).processes[0].env[RUNNER]


@pytest.mark.parametrize("launcher", ["torchrun", "deepspeed", "megatron", "torchtitan"])
@pytest.mark.parametrize("nodes", [1, 2])
def test_a_script_gets_the_words_with_which_a_program_is_started(launcher: str, nodes: int) -> None:
    direct = planned(spec_of(launcher, nodes), nodes - 1).processes[0]
    for script in (
        spec_of(launcher, nodes, argv=("run.sh", "--lr", "1e-3", "two words")),
        spec_of(launcher, nodes, argv=("/bin/train", "--lr", "1e-3", "two words"), mode=EXEC),
    ):
        process = planned(script, nodes - 1).processes[0]
        assert process.argv[1:] == ("--lr", "1e-3", "two words")
        assert direct.argv == (*process.env[RUNNER].split(), "train.py", *process.argv[1:])
        assert process.env == direct.env
        assert process.role == os.path.basename(script.argv[0])


@pytest.mark.parametrize("launcher", ["torchrun", "deepspeed", "megatron", "torchtitan"])
def test_a_port_that_is_not_chosen_yet_is_no_number(launcher: str) -> None:
    context = NodeContext(spec_of(launcher, 2), 0, "h0")
    (process,) = find(launcher).plan(context).processes
    assert "--master_port=FREE_PORT" in process.argv


def test_a_script_is_found_in_the_working_directory() -> None:
    assert planned(spec_of("torchrun", 2, argv=("run.sh",))).processes[0].argv == ("./run.sh",)


def test_native_runs_a_shell_script_as_torchrun_does() -> None:
    spec = spec_of("native", 2, argv=("run.sh",))
    assert words_of(spec, 1).startswith("torchrun --nnodes=2 --nproc_per_node=4 --node_rank=1 ")
    assert process_table(spec).roles == ("run.sh", "run.sh")


def test_a_module() -> None:
    spec = spec_of("torchrun", 1, argv=("pkg.train", "-x"), mode=MODULE)
    assert planned(spec).processes[0].argv[-3:] == ("-m", "pkg.train", "-x")


def test_elastic_torchrun() -> None:
    spec = spec_of("torchrun", 3, options={"min_nodes": "2", "max_restarts": "5"})
    assert words_of(spec, 1) == (
        "torchrun --nnodes=2:3 --nproc_per_node=4 --rdzv_backend=c10d "
        "--rdzv_endpoint=10.0.0.1:29501 --rdzv_id=j1 --max_restarts=5 --rdzv_conf=is_host=false"
    )
    alone = spec_of("torchrun", 1, options={"max_restarts": "5"})
    assert words_of(alone) == "torchrun --standalone --nproc_per_node=4 --max_restarts=5"


@pytest.mark.parametrize("options", [{"min_nodes": "4"}, {"max_nodes": "4"}, {"max_nodes": "2"}])
def test_torchrun_is_started_on_the_hosts_there_are(options: dict[str, str]) -> None:
    with pytest.raises(InputError, match="but the job has 3 hosts"):
        planned(spec_of("torchrun", 3, options=options))


def deepspeed_of(world: World, facts: NodeFacts, node_rank: int = 1) -> tuple[str, str]:
    """deepspeed's words behind the master's, and its hostfile."""
    spec = spec_of("deepspeed", 2, world=world)
    made = deepspeed(NodeContext(spec, node_rank, "10.0.0.1", 29501, facts))
    words = made.processes[0].env[RUNNER]
    assert words.startswith(f"deepspeed --hostfile={FILES}/hostfile --no_ssh --node_rank=1 ")
    return words.partition("--master_port=29501")[2].strip(), made.files[0].text


def test_deepspeed_gets_the_slots_that_were_chosen() -> None:
    world = World((Node("a", (0, 1)), Node("fd00::1", (3, 2))))
    include, hostfile = deepspeed_of(world, NodeFacts(NVIDIA, 4))
    assert include == "--include=a:0,1@node1:3,2"
    assert hostfile == "a slots=2\nnode1 slots=4\n"


def test_deepspeed_gets_the_devices_of_a_mask() -> None:
    world = World((Node("a", (0, 1)), Node("b", (0, 1))))
    assert deepspeed_of(world, NodeFacts(NVIDIA, 2, mask=("6", "7")))[0] == "--include=a:0,1@b:6,7"
    assert deepspeed_of(world, NodeFacts(NVIDIA, 2))[0] == ""
    with pytest.raises(InputError, match="GPU-1 is no number"):
        deepspeed_of(world, NodeFacts(NVIDIA, 2, mask=("GPU-1", "GPU-2")))


MEGATRON = ("TENSOR_MODEL_PARALLEL_SIZE", "PIPELINE_MODEL_PARALLEL_SIZE", "CONTEXT_PARALLEL_SIZE")


@pytest.mark.parametrize(
    ("nodes", "workers", "options", "sizes"),
    [
        (1, 4, {}, ("4", "1", "1")),
        (1, 16, {}, ("8", "1", "1")),
        (3, 8, {}, ("8", "3", "1")),
        (2, 8, {"tensor_parallel_size": "2", "context_parallel_size": "4"}, ("2", "2", "4")),
    ],
)
def test_megatrons_degrees(
    nodes: int, workers: int, options: dict[str, str], sizes: tuple[str, ...]
) -> None:
    process = planned(spec_of("megatron", nodes, workers, options=options)).processes[0]
    assert tuple(process.env[name] for name in MEGATRON) == sizes
    assert "--tensor-model-parallel-size" not in process.argv


def test_megatrons_flags_where_asked() -> None:
    spec = spec_of("megatron", 2, options={"inject_args": "true", "expert_parallel_size": "2"})
    words = " ".join(planned(spec).processes[0].argv)
    assert words.endswith(
        "two words --tensor-model-parallel-size 4 --pipeline-model-parallel-size 2 "
        "--context-parallel-size 1 --expert-model-parallel-size 2"
    )
    with pytest.raises(InputError, match="has to give it the flags"):
        planned(spec._replace(argv=("run.sh",)))


def test_torchtitan() -> None:
    options = {"module": "llama3", "config": "debug", "tensor_parallel_size": "2"}
    spec = spec_of("torchtitan", 2, argv=("torchtitan.train",), mode=MODULE, options=options)
    words = " ".join(planned(spec).processes[0].argv)
    assert words.endswith(
        "-m torchtitan.train --module llama3 --config debug --parallelism.tensor_parallel_degree 2"
    )
    with pytest.raises(InputError, match="has to give it --module"):
        planned(spec_of("torchtitan", 2, argv=("run.sh",), options=options))


@pytest.mark.parametrize(
    ("launcher", "options", "message"),
    [
        ("megatron", {"tensor_parallel_size": "3"}, r"must divide the world size \(8\)"),
        ("torchtitan", {"tensor_parallel_size": "3"}, r"must divide the world size \(8\)"),
        (
            "torchtitan",
            {"dp_shard": "2", "tensor_parallel_size": "2"},
            r"dp_shard \(2\) x tensor_parallel_size \(2\) must be the world size \(8\)",
        ),
        ("primus", {}, "config_path is needed"),
    ],
)
def test_what_cannot_be(launcher: str, options: dict[str, str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        process_table(spec_of(launcher, 2, options=options))


@pytest.mark.parametrize("launcher", ["megatron", "torchtitan"])
def test_degrees_want_equal_nodes(launcher: str) -> None:
    world = World((Node("a", (0, 1)), Node("b", (0,))))
    with pytest.raises(InputError, match="equally many workers on every node, got 2, 1"):
        process_table(spec_of(launcher, 2, world=world))


@pytest.mark.parametrize("field", ["bind_cores", "local_rank_arg", "device_binding"])
def test_what_only_native_does_is_refused(field: str) -> None:
    given: dict[str, Any] = {field: "worker" if field == "device_binding" else True}
    spec = spec_of("torchrun", 2)._replace(workers=Workers(**given))
    with pytest.raises(InputError, match="torchrun starts the workers itself"):
        process_table(spec)


def test_primus() -> None:
    options = {"config_path": "a.yaml", "cli_extra": "--train_iters 10", "backend": "megatron"}
    env = planned(spec_of("primus", 2, argv=("run.sh",), options=options)).processes[0].env
    expected = {
        "EXP": "a.yaml",
        "PRIMUS_CONFIG_PATH": "a.yaml",
        "PRIMUS_CLI_EXTRA": "--train_iters 10",
        "PRIMUS_ROOT": "/workspace/Primus",
        "BACKEND": "megatron",
        "GPUS_PER_NODE": "4",
        RUNNER: "",
    }
    assert env.items() >= expected.items()
    blank = spec_of("primus", 2, options={"config_path": "a.yaml", "cli_extra": "  "})
    env = planned(blank).processes[0].env
    assert not {"PRIMUS_CLI_EXTRA", "BACKEND"} & env.keys()


@pytest.mark.parametrize(
    ("model", "backend"),
    [
        ("primus_pretrain/maxtext_MI300X_x", "MaxText"),
        ("primus_pretrain/megatron_bridge_MI300X_x", "megatron_bridge"),
        ("primus_pretrain/megatron_MI300X_x", "megatron"),
        ("primus_pretrain/unknownThing_MI300X_x", ""),
        ("megatron_MI300X_x", ""),
    ],
)
def test_primus_backends(model: str, backend: str) -> None:
    assert backend_of(model) == backend


@pytest.mark.parametrize(
    "launcher", [each.name for each in built_in() if each.kind is LauncherKind.PER_NODE]
)
def test_an_interface_only_where_one_is_named(launcher: str) -> None:
    names = {"NCCL_SOCKET_IFNAME", "GLOO_SOCKET_IFNAME"}
    assert not names & planned(spec_of(launcher, 2)).processes[0].env.keys()
    env = planned(spec_of(launcher, 2, master=Master(interface="ib0"))).processes[0].env
    assert {env[name] for name in names} == {"ib0"}


def test_members_of_each_shape() -> None:
    assert process_table(spec_of("native", 2, 2)) == ((0, 0, 1, 1), (), ())
    who = process_table(spec_of("torchrun", 3))
    assert (who.size, who.noun, who.name(2), who.first(2)) == (3, "processes", "torchrun", 2)
    assert who.workers == {0, 1, 2}


@pytest.mark.parametrize(
    ("name", "launcher"),
    [
        ("Torch", "torchrun"),
        ("pytorch", "torchrun"),
        ("megatron_lm", "megatron"),
        ("sglang_disagg", "sglang-disagg"),
        ("sglang-pd", "sglang-disagg"),
        ("native", "native"),
    ],
)
def test_names(name: str, launcher: str) -> None:
    assert find(name).name == launcher


def test_an_unknown_name() -> None:
    with pytest.raises(InputError) as caught:
        find("xyz")
    assert str(caught.value) == (
        "Unknown launcher type 'xyz'. Use one of: deepspeed, megatron, native, primus, "
        "sglang, sglang-disagg, torchrun, torchtitan, vllm"
    )


@pytest.mark.parametrize(
    ("launcher", "name"),
    [
        ("megatron", "TENSOR_MODEL_PARALLEL_SIZE"),
        ("megatron", "PIPELINE_MODEL_PARALLEL_SIZE"),
        ("torchtitan", "TORCHTITAN_TENSOR_PARALLEL_SIZE"),
        ("primus", "PRIMUS_ROOT"),
        ("vllm", "VLLM_TENSOR_PARALLEL_SIZE"),
        ("vllm", "VLLM_DISTRIBUTED_BACKEND"),
        ("sglang", "SGLANG_TENSOR_PARALLEL_SIZE"),
    ],
)
def test_a_variable_that_the_user_sets_wins_over_the_launchers(launcher: str, name: str) -> None:
    spec = spec_of(launcher, 2, argv=("run.sh",), env={name: "2"})
    assert planned(spec).processes[0].env[name] == "2"


@pytest.mark.parametrize(
    ("launcher", "env", "options", "said"),
    [
        (
            "megatron",
            {"TENSOR_MODEL_PARALLEL_SIZE": "2"},
            {"tensor_parallel_size": "4"},
            "TENSOR_MODEL_PARALLEL_SIZE is '2', but the option tensor_parallel_size makes it '4'",
        ),
        (
            "megatron",
            {"TENSOR_MODEL_PARALLEL_SIZE": "2"},
            {"inject_args": "true"},
            "is '2', but inject_args, which adds the flags of this split, makes it '4'",
        ),
        (
            "primus",
            {"EXP": "mine.yaml"},
            {"config_path": "other.yaml"},
            "EXP is 'mine.yaml', but the option config_path makes it 'other.yaml'",
        ),
        (
            "vllm",
            {"VLLM_TENSOR_PARALLEL_SIZE": "2"},
            {"model": "M"},
            "is '2', but the command line of vllm serve makes it '4'",
        ),
        (
            "sglang-disagg",
            {"SGLANG_TP_SIZE": "2"},
            {"model": "M"},
            "is '2', but the command line of the server makes it '4'",
        ),
    ],
)
def test_a_variable_that_contradicts_what_else_is_said_is_an_error(
    launcher: str, env: dict[str, str], options: dict[str, str], said: str
) -> None:
    with pytest.raises(InputError) as error:
        planned(spec_of(launcher, 3, env=env, options=options))
    assert said in str(error.value)


def test_primus_takes_its_config_from_the_variable_too() -> None:
    env = planned(spec_of("primus", 1, env={"EXP": "mine.yaml"}, options={})).processes[0].env
    assert (env["PRIMUS_CONFIG_PATH"], env["EXP"]) == ("mine.yaml", "mine.yaml")


def test_deepspeed_finds_the_packages_of_the_working_folder() -> None:
    for nodes in (1, 2):
        spec = spec_of("deepspeed", nodes, env={"PYTHONPATH": "/mine"})
        assert planned(spec).processes[0].env["PYTHONPATH"] == "/work dir:/mine"


def test_deepspeed_that_counts_devices_gets_no_mask_beside_the_number() -> None:
    seen = planned(spec_of("deepspeed", 1)).processes[0].env
    none = planned(spec_of("deepspeed", 1), facts=NodeFacts(mask=())).processes[0].env
    assert "CUDA_VISIBLE_DEVICES" not in seen
    assert none["CUDA_VISIBLE_DEVICES"] == "", "on the CPU every device stays hidden"
