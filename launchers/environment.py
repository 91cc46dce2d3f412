"""What a worker sees: rank variables, device masks, thread count. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence

from madrun.hosts.devices import AMD, CUDA_MASK, HIP_MASK, ROCR_MASK, THREADS, NodeFacts
from madrun.launchers.launcher import NodeContext
from madrun.system.errors import InputError
from madrun.wire.jobspec import JobSpec

# What starts the workers of a node, word by word, for scripts.
RUNNER = "MAD_MULTI_NODE_RUNNER"
# What stands in a dry run where a port will: a free one, chosen at the start.
FREE_PORT = "FREE_PORT"


def rank_environment(spec: JobSpec, node_rank: int, local_rank: int) -> dict[str, str]:
    """torchrun's variables, DeepSpeed's LOCAL_SIZE and CROSS_*, and ours.

    CROSS_RANK and CROSS_SIZE are Horovod's: the place among the workers of equal local rank on
    all nodes, and how many those are.
    """
    world = spec.world
    node = world.nodes[node_rank]
    peers = [rank for rank, other in enumerate(world.nodes) if local_rank < other.local_world_size]
    values = {
        "RANK": world.first_rank(node_rank) + local_rank,
        "WORLD_SIZE": world.world_size,
        "LOCAL_RANK": local_rank,
        "LOCAL_WORLD_SIZE": node.local_world_size,
        "LOCAL_SIZE": node.local_world_size,
        "CROSS_RANK": peers.index(node_rank),
        "CROSS_SIZE": len(peers),
    }
    return {name: str(value) for name, value in values.items()}


def torchrun_environment(spec: JobSpec, node_rank: int, local_rank: int) -> dict[str, str]:
    """The rest of what torchrun sets for a worker: its one role, its run, its restarts.

    TORCHELASTIC_RUN_ID is how torch.distributed.is_torchelastic_launched, and through it
    Lightning, see that ranks and hosts are given. TORCHELASTIC_USE_AGENT_STORE stays unset: rank
    0 serves the store itself. The names are those of
    torch/distributed/elastic/agent/server/local_elastic_agent.py.
    """
    world = spec.world
    values = {
        "GROUP_WORLD_SIZE": str(len(world.nodes)),
        "ROLE_NAME": "default",
        "ROLE_RANK": str(world.first_rank(node_rank) + local_rank),
        "ROLE_WORLD_SIZE": str(world.world_size),
        "TORCHELASTIC_MAX_RESTARTS": "0",
        "TORCHELASTIC_RESTART_COUNT": str(spec.restart_count),
        "TORCHELASTIC_RUN_ID": spec.job_id,
    }
    name = "TORCH_NCCL_ASYNC_ERROR_HANDLING"
    return values if name in spec.env else {**values, name: "1"}


def jax_environment(spec: JobSpec, master_addr: str, master_port: int) -> dict[str, str]:
    """Where ``jax.distributed.initialize`` finds process 0, unless the user says it.

    >>> from madrun.hosts.world import Node, World
    >>> one = JobSpec("j", World((Node("a", (0,)),)), ("x",))
    >>> jax_environment(one, "fd00::1", 29500)
    {'JAX_COORDINATOR_ADDRESS': '[fd00::1]:29500'}
    """
    name = "JAX_COORDINATOR_ADDRESS"
    if not (master_addr and master_port) or name in spec.env:
        return {}
    return {name: endpoint(master_addr, master_port)}


def endpoint(address: str, port: int) -> str:
    """Address and port in one word; IPv6 in brackets.

    >>> endpoint("node01", 29500), endpoint("fd00::1", 0)
    ('node01:29500', '[fd00::1]:FREE_PORT')
    """
    return f"{f'[{address}]' if ':' in address else address}:{shown_port(port)}"


def shown_port(port: int) -> int | str:
    """A port as a word of a command line; one that is not chosen yet is shown as such."""
    return port or FREE_PORT


def node_environment(context: NodeContext) -> dict[str, str]:
    """What all processes of a node share; a port of 0 (not chosen yet) is left out.

    The network is the user's business: an interface is named only where one was asked for.
    """
    spec = context.spec
    values = {
        "NODE_RANK": str(context.node_rank),
        "GROUP_RANK": str(context.node_rank),
        "NNODES": str(len(spec.world.nodes)),
        "NPROC_PER_NODE": str(context.node.local_world_size),
        "GPUS_PER_NODE": str(context.node.local_world_size),
        "MASTER_ADDR": context.master_addr,
        "MASTER_PORT": str(context.master_port or ""),
        "NCCL_SOCKET_IFNAME": spec.master.interface,
        "GLOO_SOCKET_IFNAME": spec.master.interface,
        "MADRUN_JOB_ID": spec.job_id,
        "MADRUN_RESTART_COUNT": str(spec.restart_count),
    }
    return {name: value for name, value in values.items() if value}


def device_tokens(slots: Sequence[int], facts: NodeFacts) -> tuple[str, ...]:
    """What each slot is called in a visible-devices variable on this node.

    >>> device_tokens((0, 1), NodeFacts("nvidia", 2, mask=("GPU-8932f937", "3")))
    ('GPU-8932f937', '3')

    An empty mask hides every device (a job on the CPU): no slot has a name then. Raises
    InputError for a slot that the mask has not.
    """
    if facts.mask == ():
        return ("",) * len(slots)
    if facts.mask is None:
        return tuple(str(slot) for slot in slots)
    beyond = [slot for slot in slots if slot >= len(facts.mask)]
    if beyond:
        raise InputError(
            f"slot {beyond[0]} is not there: the visible devices are {','.join(facts.mask)}"
        )
    return tuple(facts.mask[slot] for slot in slots)


def device_environment(
    slots: Sequence[int], local_rank: int, binding: str, facts: NodeFacts
) -> dict[str, str]:
    """The variable of the node's vendor, NVIDIA's where it is not known; on AMD also the ROCR
    mask that was there, because HIP counts what that one leaves.

    ``binding`` "node": every worker sees all the job's devices of its node and picks its own by
    LOCAL_RANK; "worker": it sees only its own, as device 0.
    """
    tokens = device_tokens(slots, facts)
    shown = tokens if binding == "node" else (tokens[local_rank],)
    mask = ",".join(filter(None, shown))
    if facts.vendor != AMD:
        return {CUDA_MASK: mask}
    return {HIP_MASK: mask, **({ROCR_MASK: facts.rocr} if facts.rocr is not None else {})}


def thread_environment(spec: JobSpec, local_world_size: int, facts: NodeFacts) -> dict[str, str]:
    """OMP_NUM_THREADS as asked for; else, where neither the user's nor the node's own environment
    sets it, this worker's share of the node's cores."""
    if spec.workers.threads:
        return {THREADS: str(spec.workers.threads)}
    if THREADS in spec.env or facts.has_threads or not facts.cores:
        return {}
    return {THREADS: str(max(1, facts.cores // local_world_size))}
