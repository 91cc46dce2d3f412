"""From what the user asked for to the World of the job; nothing is contacted."""

from __future__ import annotations

import os
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from madrun.hosts import filters, hostlist
from madrun.hosts.hostfile import MAX_SLOTS, Host, parse_hosts, read_hostfile
from madrun.hosts.world import ALL, Node, World
from madrun.options.request import Selection
from madrun.system.errors import InputError
from madrun.system.words import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

DEFAULT_HOSTFILE = "/job/hostfile"
HOSTFILE_VARIABLE = "MADRUN_HOSTFILE"
LOCALHOST = "localhost"
THIS_MACHINE = "this machine"


class Resources(NamedTuple):
    """The World of the job, its hosts in the same order, and where they were read.

    ``open`` are the hosts that have to be asked how many slots they have; each has one until then.
    """

    world: World
    hosts: tuple[Host, ...]
    source: str
    local: bool
    cpu_only: bool
    open: tuple[str, ...] = ()


def resolve(
    selection: Selection,
    environ: Mapping[str, str],
    device_count: Callable[[], int],
    default_hostfile: str = DEFAULT_HOSTFILE,
    *,
    scheduled: tuple[tuple[Host, ...], str] | None = None,
    said_by: Mapping[str, str] = MappingProxyType({}),
) -> Resources:
    """The resources of a job: its hosts, then filters, then the first N hosts and devices.

    Hosts come from --hosts or --hostfile, else $MADRUN_HOSTFILE, else those of a scheduler's job
    (hosts and source), else the default hostfile if it is there, else this machine, whose devices
    are counted only then. A hostfile that is named is read or is an error. Slots of this machine
    index into its device mask where there is one. ``said_by`` tells where a count that nobody
    typed was read, by the option's key.
    """
    _check_counts(selection)
    found = _named(selection, environ) or scheduled or _default(default_hostfile)
    local = found is None
    cpu_only = False
    if found is None:
        count = device_count()
        cpu_only = count < 1
        workers = workers_of(selection.nproc_per_node, count, cores(), THIS_MACHINE)
        found = (Host(LOCALHOST, tuple(range(workers))),), THIS_MACHINE
    hosts, source = found
    nodes = filters.apply(hosts, selection.include, selection.exclude)
    nodes = _first_hosts(nodes, selection.nnodes, source, said_by.get("nnodes", ""))
    nodes = first_devices(nodes, selection.workers, source)
    by_name = {host.name: host for host in hosts}
    kept = tuple(by_name[node.host] for node in nodes)
    unknown = tuple(node.host for node in nodes if node.devices == ALL)
    world = closed(World(nodes), dict.fromkeys(unknown, 1))
    return Resources(world, kept, source, local, cpu_only, unknown)


def closed(world: World, counts: Mapping[str, int]) -> World:
    """The World in which each of these hosts has so many slots."""
    return World(
        tuple(
            Node(node.host, tuple(range(counts[node.host]))) if node.host in counts else node
            for node in world.nodes
        )
    )


def workers_of(want: int | str | None, devices: int, cores: int, host: str) -> int:
    """How many workers a host has of which nobody said how many slots it has.

    All its devices; where there are none, what was asked for, or one. Raises InputError.

    >>> workers_of(None, 8, 64, "node01"), workers_of(None, 0, 64, "node01")
    (8, 1)
    >>> workers_of("auto", 8, 64, "node01"), workers_of("auto", 0, 64, "node01")
    (8, 64)
    >>> workers_of("gpu", 0, 64, "node01")
    Traceback (most recent call last):
    madrun.system.errors.InputError: --nproc-per-node gpu: node01 has no GPU
    """
    if want == "gpu" and not devices:
        raise InputError(f"--nproc-per-node gpu: {host} has no GPU")
    if want == "cpu" and devices:
        raise InputError(
            f"--nproc-per-node cpu: {host} has {counted(devices, 'GPU')}, one for each worker;"
            " an empty CUDA_VISIBLE_DEVICES hides them"
        )
    if devices:
        return devices
    return want if isinstance(want, int) else cores if want else 1


def cores() -> int:
    """How many of this machine's cores this process may use."""
    return len(os.sched_getaffinity(0))


def names_hosts(selection: Selection, environ: Mapping[str, str]) -> bool:
    """Whether somebody has said by name which hosts, or which hostfile, is meant."""
    named = selection.hosts is not None or selection.hostfile is not None
    return named or bool(environ.get(HOSTFILE_VARIABLE))


def _named(selection: Selection, environ: Mapping[str, str]) -> tuple[tuple[Host, ...], str] | None:
    """The hosts and their source; None where nobody named any."""
    if selection.hosts is not None and selection.hostfile is not None:
        raise InputError("--hosts and --hostfile cannot be given together; one is enough")
    if selection.hosts is not None:
        return parse_hosts(selection.hosts), "--hosts"
    if selection.hostfile is not None:
        return read_hostfile(selection.hostfile), f"hostfile {selection.hostfile}"
    named = environ.get(HOSTFILE_VARIABLE)
    if named:
        try:
            return read_hostfile(named), f"${HOSTFILE_VARIABLE} {named}"
        except InputError as error:
            raise InputError(f"${HOSTFILE_VARIABLE}: {error}") from None
    return None


def _default(path: str) -> tuple[tuple[Host, ...], str] | None:
    return (read_hostfile(path), f"hostfile {path}") if _is_there(path) else None


def _is_there(path: str) -> bool:
    """Whether there is something, readable or not: only what is absent may be passed over."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise InputError(f"hostfile {path}: {error.strerror}") from None
    return True


def _check_counts(selection: Selection) -> None:
    counts = {
        "--nnodes": (selection.nnodes, hostlist.MAX_HOSTS),
        "--nproc-per-node": (selection.workers, MAX_SLOTS),
    }
    for option, (count, highest) in counts.items():
        if count is not None and not 1 <= count <= highest:
            raise InputError(
                f"{option} {count}: must be a whole number of at least 1 and at most {highest}"
            )


def _first_hosts(
    nodes: Sequence[Node], want: int | None, source: str, said_by: str
) -> tuple[Node, ...]:
    if want is not None and want > len(nodes):
        names = hostlist.fold(node.host for node in nodes)
        shown = names if len(names) <= 300 else names[:297] + "..."
        have = counted(len(nodes), "host")
        if source == THIS_MACHINE:
            shown += "; --hosts, --hostfile or a config's hosts, hostfile and slurm name others"
        option = f"{said_by}: {want} nodes" if said_by else f"--nnodes {want}"
        raise InputError(f"{option}: only {have} to choose from ({source}): {shown}")
    return tuple(nodes[:want])


def first_devices(nodes: Sequence[Node], want: int | None, source: str) -> tuple[Node, ...]:
    """The first so many devices of each node; raises InputError where one has fewer."""
    if want is None:
        return tuple(nodes)
    for node in nodes:
        if node.devices != ALL and want > node.local_world_size:
            have = counted(node.local_world_size, "slot")
            raise InputError(f"--nproc-per-node {want}: host {node.host} has {have} ({source})")
    first = tuple(range(want))
    return tuple(
        Node(each.host, first if each.devices == ALL else each.devices[:want]) for each in nodes
    )
