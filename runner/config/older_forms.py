"""The older sections of a config file: ``slurm_args`` and ``multi_node_args``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from madrun.hosts.hostfile import Host, parse_hosts
from madrun.runner.config.keys import Setting, Settings
from madrun.system.errors import InputError

DEFAULT_PORT = 6006  # what nodes agree upon where MASTER_PORT is not given
_NETWORK = ("NCCL_SOCKET_IFNAME", "GLOO_SOCKET_IFNAME")

# Where a key of slurm_args stands today.
_SLURM_ARGS = {
    "FRAMEWORK": "distributed.launcher",
    "PREFILL_NODES": "distributed.sglang_disagg.prefill_nodes",
    "DECODE_NODES": "distributed.sglang_disagg.decode_nodes",
    "PARTITION": "slurm.partition",
    "TIME": "slurm.time",
    "DOCKER_IMAGE": "env_vars.DOCKER_IMAGE",
}
# What the launcher has to know besides its place in the World.
OPTIONS = {"runner": "multi_node_args.RUNNER", "host_list": "multi_node_args.HOST_LIST"}


class ByHand(NamedTuple):
    """One node of a job whose nodes a person starts one by one.

    ``hosts`` is a list of all nodes as --hosts takes it.
    """

    node_rank: int
    nnodes: int
    hosts: str


def from_slurm_args(settings: Settings, argv: Sequence[str]) -> Settings:
    """The settings with those of ``slurm_args`` in today's places, where nothing stands yet.

    The nodes are those of prefill and decode and one for the router; MODEL_NAME is what follows
    ``--model`` among the program's arguments.
    """
    section = "slurm_args"
    if section not in settings.sections:
        return settings
    source = settings.sections[section]
    given = settings.under(section)
    if missing := [key for key in _SLURM_ARGS if key not in given]:
        raise InputError(f"{source}: slurm_args: {', '.join(missing)} missing; all are needed")
    found = {_SLURM_ARGS[key]: setting for key, setting in given.items()}
    nodes = int(given["PREFILL_NODES"].value) + int(given["DECODE_NODES"].value) + 1
    origin = f"{source}: slurm_args: PREFILL_NODES + DECODE_NODES + 1"
    found["distributed.nnodes"] = Setting(str(nodes), origin)
    if model := _model(argv):
        found["env_vars.MODEL_NAME"] = Setting(model, "the program's --model")
    return settings.over(Settings(found, {"slurm": source}))


def from_multi_node_args(settings: Settings) -> Settings:
    """The settings with the variables of ``multi_node_args`` among ``env_vars``."""
    given = settings.under("multi_node_args")
    found = {f"env_vars.{name}": given[name] for name in _NETWORK if name in given}
    return settings.over(Settings(found, {}))


def by_hand(
    settings: Settings, nnodes: int | None, workers: int | None, devices: Callable[[], int]
) -> ByHand | None:
    """The node that ``multi_node_args`` describes; None where there is no such section.

    ``nnodes`` and ``workers`` of each node are as far as settings tell; ``devices`` counts this
    machine's. Raises InputError where the section does not say which node this is.
    """
    section = "multi_node_args"
    if section not in settings.sections:
        return None
    given = {key: setting.value for key, setting in settings.under(section).items()}
    listed = _listed(given.get("HOST_LIST", ""), settings.sections[section])
    nnodes = nnodes or len(listed) or 1
    node_rank = _node_rank(given, nnodes, settings.sections[section])
    if len(listed) == nnodes:
        names = [host.name for host in listed]
        workers = workers or max(len(host.devices) for host in listed)
    else:
        names = [f"node{number}" for number in range(nnodes)]
    workers = workers or max(1, devices())
    hosts = ",".join(f"{_bracketed(name)}:{workers}" for name in names)
    return ByHand(node_rank, nnodes, hosts)


def _node_rank(given: dict[str, str], nnodes: int, source: str) -> int:
    where = f"{source}: multi_node_args"
    mpirun = given.get("RUNNER") == "mpirun"
    if "NODE_RANK" not in given and nnodes > 1 and not mpirun:
        raise InputError(f"{where}: NODE_RANK is needed: which of the {nnodes} nodes is this?")
    node_rank = int(given.get("NODE_RANK", 0))
    if node_rank >= nnodes:
        raise InputError(f"{where}: NODE_RANK {node_rank}: this job has nodes 0-{nnodes - 1}")
    if mpirun and node_rank:
        raise InputError(f"{where}: mpirun reaches all nodes itself; start it on node 0 only")
    if mpirun and nnodes > 1 and not given.get("HOST_LIST"):
        raise InputError(f"{where}: HOST_LIST is needed: mpirun has to be told the {nnodes} hosts")
    return node_rank


def _listed(hosts: str, source: str) -> tuple[Host, ...]:
    try:
        return parse_hosts(hosts) if hosts else ()
    except InputError as error:
        reason = str(error).removeprefix("--hosts: ")
        raise InputError(f"{source}: multi_node_args: HOST_LIST: {reason}") from None


def _bracketed(name: str) -> str:
    return f"[{name}]" if ":" in name else name


def _model(argv: Sequence[str]) -> str:
    for word, following in zip(argv, [*argv[1:], ""], strict=True):
        if word == "--model":
            return following
        if word.startswith("--model="):
            return word.partition("=")[2]
    return ""
