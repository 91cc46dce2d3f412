"""What the serving launchers plan, and what they refuse."""

from __future__ import annotations

from typing import Any

import pytest

from madrun.hosts.world import Node, World
from madrun.launchers.launcher import NodeContext
from madrun.launchers.plan import (
    CLIENT,
    FILES,
    GATE,
    SERVER,
    NodePlan,
    Peer,
    PortRequest,
    ProcessPlan,
)
from madrun.launchers.registry import find
from madrun.launchers.sglang_disagg import split
from madrun.system.errors import InputError
from madrun.wire.jobspec import EXEC, MODULE, JobSpec

DISAGG = "SGLang Disaggregated requires"


def spec_of(
    launcher: str,
    nodes: int = 1,
    slots: int = 8,
    options: dict[str, str] | None = None,
    argv: tuple[str, ...] = ("M", "--dtype", "half"),
    **others: Any,
) -> JobSpec:
    world = World(tuple(Node(f"h{n}", tuple(range(slots))) for n in range(nodes)))
    return JobSpec("j", world, argv, launcher=launcher, options=options or {}, **others)


def planned(spec: JobSpec, node_rank: int = 0, peers: tuple[Peer, ...] = ()) -> NodePlan:
    context = NodeContext(spec, node_rank, "h0", 29511, peers=peers)
    return find(spec.launcher).plan(context)


def port_requests(spec: JobSpec, node_rank: int) -> tuple[PortRequest, ...]:
    return find(spec.launcher).ports(spec, node_rank)


def only(plan: NodePlan) -> ProcessPlan:
    (process,) = plan.processes
    return process


def words(process: ProcessPlan) -> str:
    return " ".join(process.argv)


def refused(spec: JobSpec) -> str:
    with pytest.raises(InputError) as error:
        planned(spec)
    return str(error.value)


@pytest.mark.parametrize("launcher", ["vllm", "sglang"])
def test_the_model_and_the_words_behind_it(launcher: str) -> None:
    process = only(planned(spec_of(launcher)))
    assert "M" in process.argv
    assert process.argv[-2:] == ("--dtype", "half")
    assert process.kind == SERVER
    options = {"model": "org/X", "args": '["--a", "two words"]'}
    server, client = planned(spec_of(launcher, options=options, argv=("bench.py", "1"))).processes
    assert "org/X" in server.argv
    assert server.argv[-2:] == ("--a", "two words")
    assert (client.kind, client.argv) == (CLIENT, ("python3", "-u", "bench.py", "1"))


@pytest.mark.parametrize(
    ("argv", "mode", "found"),
    [
        (("run.sh", "a b"), "python", ("./run.sh", "a b")),
        (("/x/run.sh",), "python", ("/x/run.sh",)),
        (("serve.py", "x"), "python", ("python3", "-u", "serve.py", "x")),
        (("serve", "x"), EXEC, ("serve", "x")),
        (("pkg.serve",), MODULE, ("python3", "-u", "-m", "pkg.serve")),
    ],
)
@pytest.mark.parametrize("launcher", ["vllm", "sglang", "sglang-disagg"])
def test_a_script_runs_once_per_node_with_the_variables(
    launcher: str, argv: tuple[str, ...], mode: str, found: tuple[str, ...]
) -> None:
    spec = spec_of(launcher, 3, argv=argv, mode=mode)
    process = only(planned(spec, 2))
    assert (process.argv, process.rank, process.kind) == (found, 2, "worker")
    assert process.env["MAD_MULTI_NODE_RUNNER"] == ""
    assert [name for name in process.env if name.startswith(("VLLM", "SGLANG"))]
    assert port_requests(spec, 0) == ()
    assert "nobody knows when it is ready" in refused(
        spec_of(launcher, 3, argv=argv, mode=mode, client=("bench",))
    )


def test_a_script_with_a_model_is_the_client() -> None:
    spec = spec_of("sglang", 2, options={"model": "X"}, argv=("run.sh", "1"))
    server, client = planned(spec).processes
    assert (client.argv, client.kind, client.rank) == (("./run.sh", "1"), CLIENT, 1)
    assert client.env["MADRUN_SERVER_URL"] == "http://h0:30000"
    assert client.stop_order < server.stop_order
    assert only(planned(spec, 1)).rank == 2
    again = spec_of("sglang", options={"model": "X"}, argv=("run.sh",), client=("bench",))
    assert "run.sh is the client already" in refused(again)


def test_ports_are_what_the_nodes_hold() -> None:
    peers = (Peer("10.0.0.1", (7001, 7002)), Peer("fd00::2", (7003, 7004)), Peer("c", (7005,)))
    router = only(planned(spec_of("sglang-disagg", 3), 0, peers))
    assert "--prefill http://[fd00::2]:7003 7004 --decode http://c:7005 " in words(router)
    assert "--port 7001 --prometheus-port 7002" in words(router)
    assert router.env["SGLANG_NODE_IPS"] == "10.0.0.1,fd00::2,c"
    head, gate, server = planned(spec_of("vllm", 3), 0, peers).processes
    assert "--port=7002" in head.argv
    assert gate.argv[-3:] == ("10.0.0.1:7002", "3", "24")
    assert (server.ready[0].url, server.env["RAY_ADDRESS"]) == (
        "http://10.0.0.1:7001/v1/models",
        "10.0.0.1:7002",
    )


def test_a_port_that_is_given_has_to_be_that_one() -> None:
    options = {"port": "8080", "bootstrap_port": "9001"}
    spec = spec_of("sglang-disagg", 3, options=options)
    wishes = [[tuple(wish) for wish in port_requests(spec, node)] for node in range(3)]
    assert wishes == [
        [("port", 8080, True), ("metrics port", 29000, False)],
        [("server port", 30000, False), ("bootstrap_port", 9001, True)],
        [("server port", 30000, False)],
    ]


# ---- vllm


@pytest.mark.parametrize(
    ("nodes", "options", "variables"),
    [
        (1, {}, ("8", "1", "auto")),
        (2, {}, ("8", "2", "ray")),
        (2, {"mode": "mp"}, ("8", "2", "mp")),
        (2, {"tensor_parallel_size": "16"}, ("16", "1", "ray")),
        (2, {"tensor_parallel_size": "4", "pipeline_parallel_size": "4"}, ("4", "4", "ray")),
        (2, {"mode": "mp", "pipeline_parallel_size": "1"}, ("16", "1", "mp")),
        (2, {"mode": "dp"}, ("8", "1", "dp")),
        (3, {"mode": "replicas", "tensor_parallel_size": "2"}, ("2", "1", "replicas")),
    ],
)
def test_vllm_degrees(nodes: int, options: dict[str, str], variables: tuple[str, ...]) -> None:
    process = planned(spec_of("vllm", nodes, options=options)).processes[0]
    names = ("TENSOR_PARALLEL_SIZE", "PIPELINE_PARALLEL_SIZE", "DISTRIBUTED_BACKEND")
    assert tuple(process.env[f"VLLM_{name}"] for name in names) == variables
    assert ("VLLM_HOST_IP" in process.env) == (nodes > 1)


def test_vllm_over_ray() -> None:
    spec = spec_of("vllm", 3, client=("bench", "$x"))
    first = planned(spec)
    head, _, server, client = first.processes
    assert [each.kind for each in first.processes] == [SERVER, GATE, SERVER, CLIENT]
    assert words(head).startswith("ray start --head --port=6379 --num-gpus=8 --block ")
    assert words(server).startswith(
        "vllm serve M --tensor-parallel-size 8 --pipeline-parallel-size 3 "
        "--distributed-executor-backend ray --port 8000"
    )
    assert client.argv == ("bench", "$x")
    assert client.stop_order < server.stop_order < head.stop_order
    worker = only(planned(spec, 2))
    assert words(worker).startswith("ray start --address=h0:6379 --num-gpus=8 --block ")
    assert (worker.after[0].url, worker.rank) == ("tcp://h0:6379", 5)
    assert worker.stop_order == head.stop_order
    assert (first.announce, planned(spec, 2).announce) == ("http://h0:8000", "")
    assert head.env["RAY_TMPDIR"] == worker.env["RAY_TMPDIR"] == FILES
    assert head.env["RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"] == "0"
    drain = {"RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "9"}
    assert planned(spec_of("vllm", 2, env=drain)).processes[0].env.items() >= drain.items()


def test_vllm_by_its_own_multi_node_mode() -> None:
    spec = spec_of("vllm", 2, options={"mode": "mp"})
    first, second = only(planned(spec)), only(planned(spec, 1))
    place = "--nnodes 2 --node-rank {} --master-addr h0 --master-port 29511"
    assert place.format(0) in words(first)
    assert "--headless" not in first.argv
    assert f"{place.format(1)} --headless" in words(second)
    assert "--port" not in second.argv
    assert (len(first.ready), len(second.ready)) == (1, 0)


def test_vllm_data_parallel() -> None:
    options = {"mode": "dp", "data_parallel_size": "4", "tensor_parallel_size": "4"}
    spec = spec_of("vllm", 2, options=options)
    common = (
        "--data-parallel-size 4 --data-parallel-size-local 2 "
        "--data-parallel-address h0 --data-parallel-rpc-port 13345"
    )
    assert common in words(only(planned(spec)))
    second = words(only(planned(spec, 1)))
    assert f"{common} --headless --data-parallel-start-rank 2" in second


def test_vllm_replicas_announce_themselves_and_a_client_waits_for_all() -> None:
    spec = spec_of("vllm", 3, options={"mode": "replicas"}, client=("bench",))
    assert [planned(spec, n).announce for n in range(3)] == [f"http://h{n}:8000" for n in range(3)]
    client = planned(spec).processes[1]
    assert [probe.url for probe in client.after] == [f"http://h{n}:8000/v1/models" for n in (1, 2)]
    urls = "http://h0:8000,http://h1:8000,http://h2:8000"
    assert client.env["MADRUN_SERVER_URLS"] == urls


@pytest.mark.parametrize(
    ("nodes", "options", "message"),
    [
        (2, {"mode": "single"}, "mode single is for one node, this job has 2"),
        (2, {"mode": "mp", "distributed_executor_backend": "ray"}, "(nnodes > 1) runs without Ray"),
        (2, {"mode": "ray", "distributed_executor_backend": "mp"}, "mode ray and"),
        (1, {"tensor_parallel_size": "9"}, "(9) x pipeline_parallel_size (1) is more than the GPU"),
        (2, {"mode": "mp", "tensor_parallel_size": "3"}, "must be the number of all GPUs (16)"),
        (2, {"mode": "dp", "data_parallel_size": "3"}, "does not fit on 2 nodes with 8 GPUs each"),
        (2, {"mode": "dp", "data_parallel_size": "4"}, "does not fit"),
        (3, {"mode": "replicas", "tensor_parallel_size": "16"}, "more than the GPUs"),
    ],
)
def test_vllm_shapes_that_cannot_be(nodes: int, options: dict[str, str], message: str) -> None:
    assert message in refused(spec_of("vllm", nodes, options=options))


def test_unequal_nodes() -> None:
    world = World((Node("a", (0, 1)), Node("b", (0,))))
    uneven = JobSpec("j", world, ("M",), launcher="vllm")
    assert "vllm needs equally many workers on every node, got 2, 1" in refused(uneven)
    replicas = JobSpec("j", world, ("M",), launcher="vllm", options={"mode": "replicas"})
    assert "--tensor-parallel-size 1" in words(only(planned(replicas)))


# ---- sglang


def test_sglang_counts_the_gpus_of_all_nodes() -> None:
    spec = spec_of("sglang", 2)
    first, second = only(planned(spec)), only(planned(spec, 1))
    assert "--model-path M --tp-size 16 --nnodes 2 --node-rank 1 --dist-init-addr h0:29511" in (
        words(second)
    )
    assert "--host 0.0.0.0 --port 30000" in words(first)
    assert first.ready[0].url == "http://h0:30000/health_generate"
    assert second.ready == (), "ranks above 0 always say that they are well"
    assert (first.env["SGLANG_TENSOR_PARALLEL_SIZE"], first.env["NCCL_INIT_ADDR"]) == (
        "8",
        "h0:29511",
    )
    assert "--nnodes" not in only(planned(spec_of("sglang"))).argv


def test_sglang_degrees() -> None:
    options = {"pipeline_parallel_size": "2"}
    assert "--tp-size 8 --pp-size 2" in words(only(planned(spec_of("sglang", 2, options=options))))
    message = refused(spec_of("sglang", 2, options={"tensor_parallel_size": "8"}))
    assert "must be the number of all GPUs (16): it counts those of all nodes" in message


# ---- sglang-disagg


@pytest.mark.parametrize(
    ("nnodes", "given", "found"),
    [
        (3, (None, None), (1, 1)),
        (4, (None, None), (1, 2)),
        (5, (None, None), (1, 3)),
        (7, (None, None), (2, 4)),
        (11, (None, None), (4, 6)),
        (5, (2, 2), (2, 2)),
        (5, (2, None), (2, 2)),
        (5, (None, 1), (3, 1)),
    ],
)
def test_split(nnodes: int, given: tuple[int | None, int | None], found: tuple[int, int]) -> None:
    assert tuple(split(nnodes, *given)) == found


@pytest.mark.parametrize(
    ("nnodes", "given", "message"),
    [
        (2, (None, None), f"{DISAGG} minimum 3 nodes (1 proxy + 1 prefill + 1 decode), got 2"),
        (7, (0, 6), f"{DISAGG} at least 1 prefill and 1 decode node, got prefill=0, decode=6"),
        (7, (6, None), f"{DISAGG} at least 1 prefill and 1 decode node, got prefill=6, decode=0"),
        (
            7,
            (4, 1),
            "Custom split validation failed: prefill_nodes (4) + decode_nodes (1) + 1 proxy "
            "must equal nnodes (7), but got 6",
        ),
    ],
)
def test_splits_that_cannot_be(
    nnodes: int, given: tuple[int | None, int | None], message: str
) -> None:
    with pytest.raises(InputError) as error:
        split(nnodes, *given)
    assert str(error.value) == message


def test_disaggregated_roles_and_order() -> None:
    spec = spec_of("sglang-disagg", 4, options={"transfer_backend": "mori"}, client=("bench",))
    plans = [planned(spec, node) for node in range(4)]
    process_table = [(p.rank, p.role) for plan in plans for p in plan.processes]
    assert process_table == [
        (0, "router"),
        (1, "client"),
        (2, "prefill"),
        (3, "decode"),
        (4, "decode"),
    ]
    router, prefill = plans[0].processes[0], only(plans[1])
    health = [f"http://h{n}:30000/health_generate" for n in (1, 2, 3)]
    assert [probe.url for probe in router.after] == health
    assert [probe.url for probe in router.ready] == [
        "http://h0:30000/readiness",
        "http://h0:30000/generate",
    ]
    assert router.ready[1].body
    assert router.stop_order < prefill.stop_order
    assert "--disaggregation-mode prefill --disaggregation-bootstrap-port 8998" in words(prefill)
    assert "--disaggregation-transfer-backend mori --dtype half" in words(prefill)
    assert "--disaggregation-bootstrap-port" not in only(plans[3]).argv
    assert only(plans[3]).env["SGLANG_DISAGG_DECODE_NODES"] == "2"


def test_a_disaggregated_server_has_one_node() -> None:
    spec = spec_of("sglang-disagg", 3, options={"tensor_parallel_size": "16"})
    assert "each server has a node of its own" in refused(spec)
