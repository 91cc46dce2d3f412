"""Each worker's share of the node's cores, near its device where the kernel tells."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from madrun.agent.cores import cores_of_numa, numa_of_pci, plan
from madrun.hosts.core_list import parse_core_list
from madrun.hosts.devices import NodeFacts
from madrun.launchers.environment import device_tokens
from madrun.wire.jobspec import JobSpec


def worker_cores(
    spec: JobSpec,
    node_rank: int,
    facts: NodeFacts,
    bus_ids: Sequence[str],
    allowed: Collection[int],
) -> tuple[tuple[int, ...], ...]:
    """The cores of each worker of the node, by local rank; raises InputError."""
    slots = spec.world.nodes[node_rank].devices
    numa = [_numa_of(token, bus_ids) for token in device_tokens(slots, facts)]
    asked = spec.workers.core_list
    chosen = None if asked is None else parse_core_list(asked)
    return plan(allowed, len(slots), numa, cores_of_numa(), chosen)


def _numa_of(token: str, bus_ids: Sequence[str]) -> int | None:
    """The NUMA node of a device; not known for one that is named by a UUID."""
    if not token.isdecimal() or int(token) >= len(bus_ids):
        return None
    return numa_of_pci(bus_ids[int(token)])
