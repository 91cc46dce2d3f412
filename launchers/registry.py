"""Launchers by name; each is imported when it is asked for."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from madrun.launchers.plan import NodeFacts, NodePlan, PortRequest
from madrun.system.errors import InputError
from madrun.wire.jobspec import JobSpec

Plan = Callable[[JobSpec, int, str, int, NodeFacts], NodePlan]

_MODULES = {
    "native": "madrun.launchers.native",
    "torchrun": "madrun.launchers.torchrun",
    "deepspeed": "madrun.launchers.deepspeed",
    "megatron": "madrun.launchers.megatron",
    "torchtitan": "madrun.launchers.torchtitan",
    "primus": "madrun.launchers.primus",
    "multi-node-args": "madrun.launchers.multi_node_args",
    "vllm": "madrun.launchers.vllm",
    "sglang": "madrun.launchers.sglang",
    "sglang-disagg": "madrun.launchers.sglang_disagg",
}
# Those that run one process on each node, the same everywhere.
ONE_PER_NODE = (
    *("torchrun", "deepspeed", "megatron", "torchtitan", "primus"),
    "multi-node-args",
)
# Those whose nodes hold ports for each other, and have to know each other's addresses.
SERVING = ("vllm", "sglang", "sglang-disagg")


def planner(name: str) -> Plan:
    """The plan function of a launcher; raises InputError that lists the known ones."""
    module = _MODULES.get(name)
    if module is None:
        raise InputError(f"unknown launcher {name!r}; known are {', '.join(_MODULES)}")
    function: Plan = import_module(module).plan
    return function


def port_requests(spec: JobSpec, node_rank: int) -> tuple[PortRequest, ...]:
    """The ports that the launcher needs on a node besides the master port."""
    if spec.launcher not in SERVING:
        return ()
    wishes: tuple[PortRequest, ...] = import_module(_MODULES[spec.launcher]).ports(spec, node_rank)
    return wishes
