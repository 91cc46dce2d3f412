"""SGLang with prefill and decode on nodes of their own, behind a router on node 0."""

from __future__ import annotations

import json
from typing import NamedTuple

from madrun.launchers import per_node, serving
from madrun.launchers.launcher import Launcher, LauncherKind, NodeContext
from madrun.launchers.plan import NodePlan, Peer, PortRequest, Probe, ProcessPlan
from madrun.launchers.sglang import PORT, launch_server
from madrun.options.option_types import choice, count, number, port, text, words
from madrun.system.errors import InputError
from madrun.wire.jobspec import JobSpec

BOOTSTRAP_PORT = 8998
_PROMETHEUS_PORT = 29000  # of the router
_TRANSFER = "mooncake"
_GENERATION = {"text": "Hello", "sampling_params": {"max_new_tokens": 1, "temperature": 0}}


class Split(NamedTuple):
    """How many nodes prefill, from node 1 on, and how many decode, behind them."""

    prefill: int
    decode: int


def split(nnodes: int, prefill: int | None = None, decode: int | None = None) -> Split:
    """The split of so many nodes, one of which is the router's; where one part is given, the
    other one is the rest.

    >>> [tuple(split(nnodes)) for nnodes in (3, 5, 7, 11)]
    [(1, 1), (1, 3), (2, 4), (4, 6)]

    Raises InputError for fewer than three nodes, an empty part, and parts that do not add up.
    """
    if nnodes < 3:
        raise InputError(
            "SGLang Disaggregated requires minimum 3 nodes "
            f"(1 proxy + 1 prefill + 1 decode), got {nnodes}"
        )
    rest = nnodes - 1
    if prefill is None:
        prefill = max(1, rest * 2 // 5) if decode is None else rest - decode
    if decode is None:
        decode = rest - prefill
    if prefill < 1 or decode < 1:
        raise InputError(
            "SGLang Disaggregated requires at least 1 prefill and 1 decode node, "
            f"got prefill={prefill}, decode={decode}"
        )
    if prefill + decode != rest:
        raise InputError(
            f"Custom split validation failed: prefill_nodes ({prefill}) + decode_nodes ({decode}) "
            f"+ 1 proxy must equal nnodes ({nnodes}), but got {prefill + decode + 1}"
        )
    return Split(prefill, decode)


def plan(context: NodeContext) -> NodePlan:
    """The router on node 0, one server on each of the others."""
    spec, node_rank = context.spec, context.node_rank
    parts, host = _split_of(spec), context.node.host
    everybody = serving.peers(context, ports)
    own = {
        "SGLANG_DISAGG_MODE": "enabled",
        "SGLANG_DISAGG_PREFILL_NODES": str(parts.prefill),
        "SGLANG_DISAGG_DECODE_NODES": str(parts.decode),
        "SGLANG_DISAGG_TOTAL_NODES": str(len(everybody)),
        "SGLANG_TP_SIZE": str(_tensor_parallel_size(spec, max(node_rank, 1))),
        "SGLANG_NODE_RANK": str(node_rank),
        "SGLANG_NODE_IPS": ",".join(peer.address for peer in everybody),
    }
    size = {"SGLANG_TP_SIZE": own["SGLANG_TP_SIZE"]}
    served = dict.fromkeys(size, "the command line of the server") if serving.model_of(spec) else {}
    given = per_node.given_options(spec, {"SGLANG_TP_SIZE": "tensor_parallel_size"})
    own |= per_node.agreed(spec, size, served | given)
    if not serving.model_of(spec):
        serving.client_of(spec)  # raises where there is one
        return per_node.plan_of(context, (), own)
    env = per_node.environment(context, (), own)
    if node_rank:
        server = _server(spec, node_rank, everybody[node_rank], env)
        return NodePlan(host, node_rank, (server,))
    router = _router(spec, everybody, parts, env)
    address = serving.url(everybody[0])
    processes = serving.with_client(spec, (router,), [address], ())
    return NodePlan(host, 0, processes, announce=address)


def ports(spec: JobSpec, node_rank: int) -> tuple[PortRequest, ...]:
    """Every node listens for requests; the router also shows its metrics, and prefill nodes tell
    decode nodes where to fetch what."""
    if not serving.model_of(spec):
        return ()
    if node_rank == 0:
        return serving.wish(spec, "port", PORT), PortRequest("metrics port", _PROMETHEUS_PORT)
    own = PortRequest("server port", PORT)
    if node_rank <= _split_of(spec).prefill:
        return own, serving.wish(spec, "bootstrap_port", BOOTSTRAP_PORT)
    return (own,)


def _router(
    spec: JobSpec, everybody: tuple[Peer, ...], parts: Split, env: dict[str, str]
) -> ProcessPlan:
    """It starts when all servers are ready, and is ready when a text came through all of them."""
    own, servers = everybody[0], everybody[1:]
    argv = [spec.python, "-u", "-m", "sglang_router.launch_router", "--pd-disaggregation"]
    for peer in servers[: parts.prefill]:
        argv += ["--prefill", serving.url(peer), str(peer.ports[1])]
    for peer in servers[parts.prefill :]:
        argv += ["--decode", serving.url(peer)]
    argv += ["--host", "0.0.0.0", "--port", str(own.ports[0])]
    argv += ["--prometheus-port", str(own.ports[1])]
    generation = json.dumps(_GENERATION)
    return serving.server(
        spec,
        "router",
        0,
        argv,
        env,
        ready=(
            Probe(serving.url(own, "/readiness")),
            Probe(serving.url(own, "/generate"), body=generation),
        ),
        stop_order=serving.ROUTER_ENDS,
    )._replace(after=tuple(Probe(serving.url(peer, "/health_generate")) for peer in servers))


def _server(spec: JobSpec, node_rank: int, own: Peer, env: dict[str, str]) -> ProcessPlan:
    role = "prefill" if node_rank <= _split_of(spec).prefill else "decode"
    size = _tensor_parallel_size(spec, node_rank)
    argv = [*launch_server(spec, serving.model_of(spec)), "--tp-size", str(size)]
    argv += ["--host", "0.0.0.0", "--port", str(own.ports[0]), "--disaggregation-mode", role]
    if role == "prefill":
        argv += ["--disaggregation-bootstrap-port", str(own.ports[1])]
    argv += ["--disaggregation-transfer-backend", spec.options.get("transfer_backend", _TRANSFER)]
    ready = (Probe(serving.url(own, "/health_generate")),)
    rank = serving.rank_of(spec, node_rank, on_first=1)
    return serving.server(spec, role, rank, [*argv, *serving.server_words(spec)], env, ready)


def _tensor_parallel_size(spec: JobSpec, node_rank: int) -> int:
    """Each server has the GPUs of its own node."""
    slots = spec.world.nodes[node_rank].local_world_size
    size = per_node.degree(spec, "tensor_parallel_size", slots)
    if size > slots:
        raise InputError(
            f"sglang-disagg: tensor_parallel_size ({size}) is larger than the GPUs of one node "
            f"({slots}): each server has a node of its own"
        )
    return size


def _split_of(spec: JobSpec) -> Split:
    given = [spec.options.get(name) for name in ("prefill_nodes", "decode_nodes")]
    prefill, decode = (None if each is None else int(each) for each in given)
    return split(len(spec.world.nodes), prefill, decode)


LAUNCHER = Launcher(
    "sglang-disagg",
    plan,
    LauncherKind.SERVING,
    options={
        "model": text,
        "port": port,
        "args": words,
        "tensor_parallel_size": count,
        "prefill_nodes": number,
        "decode_nodes": number,
        "bootstrap_port": port,
        "transfer_backend": choice("mooncake", "nixl", "ascend", "mori", "mooncake_tcp", "fake"),
    },
    aliases=("sglang-pd",),
    ports=ports,
    default_program=serving.default_program,
)
