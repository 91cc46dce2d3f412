"""The DeepSpeed launcher once per node, in the form that starts this node's workers only.

Left to itself it would log in to every node again, from every node. It reads the World from a
hostfile, so it gets one of its own: never the one that may lie in /job/hostfile.
"""

from __future__ import annotations

import re

from madrun.launchers import per_node
from madrun.launchers.environment import device_tokens
from madrun.launchers.plan import FILES, NodeFacts, NodePlan, PlannedFile
from madrun.system.errors import InputError
from madrun.wire.jobspec import JobSpec

_HOSTFILE = "hostfile"
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def plan(
    spec: JobSpec, node_rank: int, master_addr: str, master_port: int, facts: NodeFacts
) -> NodePlan:
    """deepspeed with the program, or the program with deepspeed's words.

    Raises InputError where a device is no number: deepspeed counts, and sets the mask by itself.
    """
    ids = _ids(spec, node_rank, facts)
    usual = all(slots == tuple(range(len(slots))) for slots in ids)
    port = f"--master_port={master_port or per_node.DEFAULT_PORT}"
    master = (master_addr, master_port)
    runner: tuple[str, ...]
    if len(ids) == 1 and usual:
        # /dev/null: else it would read /job/hostfile, and start there what that names.
        runner = ("deepspeed", f"--num_gpus={len(ids[0])}", "--hostfile=/dev/null", port)
        return per_node.plan_of(spec, node_rank, master, facts, runner)
    names = [_name(node.host, rank) for rank, node in enumerate(spec.world.nodes)]
    pairs = list(zip(names, ids, strict=True))
    chosen = "@".join(f"{name}:{','.join(map(str, slots))}" for name, slots in pairs)
    runner = (
        *("deepspeed", f"--hostfile={FILES}/{_HOSTFILE}", "--no_ssh", f"--node_rank={node_rank}"),
        *(f"--master_addr={master_addr}", port),
        *([] if usual else [f"--include={chosen}"]),
    )
    hostfile = "".join(f"{name} slots={max(slots) + 1}\n" for name, slots in pairs)
    files = (PlannedFile(_HOSTFILE, hostfile),)
    return per_node.plan_of(spec, node_rank, master, facts, runner, files=files)


def _ids(spec: JobSpec, node_rank: int, facts: NodeFacts) -> list[tuple[int, ...]]:
    """The devices of each node by number; of the others only how many there are counts."""
    ids = [node.devices for node in spec.world.nodes]
    tokens = device_tokens(ids[node_rank], facts)
    if not any(tokens):  # no device is visible: a job on the CPU
        return ids
    wrong = [token for token in tokens if not token.isdecimal()]
    if wrong:
        raise InputError(
            f"deepspeed: the visible device {wrong[0]} is no number, and its launcher knows "
            "devices by number only (--launcher torchrun takes any)"
        )
    ids[node_rank] = tuple(int(token) for token in tokens)
    return ids


def _name(host: str, node_rank: int) -> str:
    """A host's name as deepspeed can read it in ``--include``; nobody is reached by it."""
    return host if _PLAIN.fullmatch(host) else f"node{node_rank}"
