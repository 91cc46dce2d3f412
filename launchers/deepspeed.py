"""The DeepSpeed launcher once per node, in the form that starts this node's workers only.

Left to itself it would log in to every node again, from every node. It reads the World from a
hostfile, so it gets one of its own: never the one that may lie in /job/hostfile.
"""

from __future__ import annotations

import os
import re

from madrun.hosts.devices import AMD, CUDA_MASK
from madrun.launchers import per_node
from madrun.launchers.environment import device_tokens, shown_port
from madrun.launchers.launcher import Launcher, NodeContext
from madrun.launchers.plan import FILES, NodePlan, PlannedFile, ProcessPlan
from madrun.system.errors import InputError

_HOSTFILE = "hostfile"
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def plan(context: NodeContext) -> NodePlan:
    """deepspeed with the program, or the program with deepspeed's words.

    Raises InputError where a device is no number: deepspeed counts, and sets the mask by itself.
    """
    spec = context.spec
    ids = _ids(context)
    usual = all(slots == tuple(range(len(slots))) for slots in ids)
    port = f"--master_port={shown_port(context.master_port)}"
    # As the deepspeed command does: a program in a folder finds the packages of this one.
    paths = (spec.workdir, spec.env.get("PYTHONPATH", ""))
    own = {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
    runner: tuple[str, ...]
    if len(ids) == 1 and usual:
        # /dev/null: else it would read /job/hostfile, and start there what that names.
        runner = ("deepspeed", f"--num_gpus={len(ids[0])}", "--hostfile=/dev/null", port)
        # Where it is to choose by number itself, it complains of a mask beside it.
        hidden = () if context.facts.vendor == AMD or context.facts.mask == () else (CUDA_MASK,)
        made = per_node.plan_of(context, runner, own)
        return made._replace(processes=tuple(_without(each, hidden) for each in made.processes))
    names = [_name(node.host, rank) for rank, node in enumerate(spec.world.nodes)]
    pairs = list(zip(names, ids, strict=True))
    chosen = "@".join(f"{name}:{','.join(map(str, slots))}" for name, slots in pairs)
    runner = (
        *("deepspeed", f"--hostfile={FILES}/{_HOSTFILE}", "--no_ssh"),
        f"--node_rank={context.node_rank}",
        *(f"--master_addr={context.master_addr}", port),
        *([] if usual else [f"--include={chosen}"]),
    )
    hostfile = "".join(f"{name} slots={max(slots) + 1}\n" for name, slots in pairs)
    files = (PlannedFile(_HOSTFILE, hostfile),)
    return per_node.plan_of(context, runner, own, files=files)


def _without(process: ProcessPlan, names: tuple[str, ...]) -> ProcessPlan:
    env = {name: value for name, value in process.env.items() if name not in names}
    return process._replace(env=env)


def _ids(context: NodeContext) -> list[tuple[int, ...]]:
    """The devices of each node by number; of the others only how many there are counts."""
    ids = [node.devices for node in context.spec.world.nodes]
    tokens = device_tokens(context.node.devices, context.facts)
    if not any(tokens):  # no device is visible: a job on the CPU
        return ids
    wrong = [token for token in tokens if not token.isdecimal()]
    if wrong:
        raise InputError(
            f"deepspeed: the visible device {wrong[0]} is no number, and its launcher knows "
            "devices by number only (--launcher torchrun takes any)"
        )
    ids[context.node_rank] = tuple(int(token) for token in tokens)
    return ids


def _name(host: str, node_rank: int) -> str:
    """A host's name as deepspeed can read it in ``--include``; nobody is reached by it."""
    return host if _PLAIN.fullmatch(host) else f"node{node_rank}"


LAUNCHER = Launcher("deepspeed", plan, passes_local_rank=True)
