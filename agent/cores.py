"""Which cores each worker of a node gets: near its device, and none left out."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from madrun.hosts.core_list import parse_core_list
from madrun.system.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

_NUMA_NODE = re.compile(r"node([0-9]{1,5})")
_PCI = re.compile(r"(?:([0-9a-f]{4,8}):)?([0-9a-f]{2}:[0-9a-f]{2}\.[0-7])")


def share(cores: Sequence[int], local_size: int, local_rank: int) -> tuple[int, ...]:
    """One worker's part of the cores: contiguous, equal but for one, and all cores are used.

    Raises InputError where there are fewer cores than workers.

    >>> [share(range(8), 3, rank) for rank in range(3)]
    [(0, 1, 2), (3, 4, 5), (6, 7)]
    """
    if not 0 <= local_rank < local_size:
        raise InputError(f"local rank {local_rank} is not one of {local_size} workers")
    if len(cores) < local_size:
        raise InputError(f"{local_size} workers cannot share {len(cores)} cores, one each at least")
    each, more = divmod(len(cores), local_size)
    start = local_rank * each + min(local_rank, more)
    return tuple(cores[start : start + each + (local_rank < more)])


def plan(
    allowed: Collection[int],
    local_size: int,
    numa_of_worker: Sequence[int | None],
    cores_of_numa: Mapping[int, Sequence[int]],
    core_list: Sequence[int] | None,
) -> tuple[tuple[int, ...], ...]:
    """The cores of each worker, none of them outside the allowed ones.

    A core list is shared in its order. Without one, workers share the cores near their devices
    where that is known for all of them and there is a core for each; else all allowed cores.

    >>> plan(range(8), 2, [1, 0], {0: range(4), 1: range(4, 8)}, None)
    ((4, 5, 6, 7), (0, 1, 2, 3))
    """
    if core_list is not None:
        outside = set(core_list).difference(allowed)
        if outside:
            raise InputError(
                f"core list: core {min(outside)} may not be used here;"
                f" {len(allowed)} cores may, from {min(allowed, default='none')}"
                f" to {max(allowed, default='none')}"
            )
        return tuple(share(core_list, local_size, rank) for rank in range(local_size))
    near = _near(set(allowed), local_size, numa_of_worker, cores_of_numa)
    pool = sorted(allowed)
    return near or tuple(share(pool, local_size, rank) for rank in range(local_size))


def numa_of_pci(bus_id: str, root: str = "/") -> int | None:
    """The NUMA node of a PCI device, None where the kernel does not say.

    Takes the kernel's form ``0000:3b:00.0`` and that of vendor tools, ``00000000:3B:00.0``.
    """
    found = _PCI.fullmatch(bus_id.strip().lower())
    if found is None:
        return None
    address = f"{int(found[1] or '0', 16):04x}:{found[2]}"
    text = _read(os.path.join(root, "sys/bus/pci/devices", address, "numa_node"))
    # The kernel says -1 where the firmware says nothing.
    return int(text) if text.isascii() and text.isdigit() else None


def cores_of_numa(root: str = "/") -> dict[int, tuple[int, ...]]:
    """The cores of each NUMA node; empty where the kernel does not say."""
    folder = os.path.join(root, "sys/devices/system/node")
    try:
        entries = os.listdir(folder)
    except OSError:
        return {}
    found: dict[int, tuple[int, ...]] = {}
    for entry in sorted(entries):
        node = _NUMA_NODE.fullmatch(entry)
        text = _read(os.path.join(folder, entry, "cpulist"))
        # A node of memory only has an empty list.
        if node and text:
            found[int(node[1])] = _kernel_list(text)
    return dict(sorted(found.items()))


def _near(
    allowed: set[int],
    local_size: int,
    numa_of_worker: Sequence[int | None],
    cores_of_numa: Mapping[int, Sequence[int]],
) -> tuple[tuple[int, ...], ...] | None:
    """Shares of the cores near each worker's device, or None where that cannot be."""
    workers: dict[int, list[int]] = {}
    for local_rank, numa in enumerate(numa_of_worker):
        if numa is None:
            return None
        workers.setdefault(numa, []).append(local_rank)
    shares: dict[int, tuple[int, ...]] = {}
    for numa, ranks in workers.items():
        cores = [core for core in cores_of_numa.get(numa, ()) if core in allowed]
        if len(cores) < len(ranks):
            return None
        for index, local_rank in enumerate(ranks):
            shares[local_rank] = share(cores, len(ranks), index)
    if len(shares) != local_size:
        return None
    return tuple(shares[rank] for rank in range(local_size))


def _kernel_list(text: str) -> tuple[int, ...]:
    try:
        return parse_core_list(text)
    except InputError:
        return ()


def _read(path: str) -> str:
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read(65536).strip()
    except OSError:
        return ""
