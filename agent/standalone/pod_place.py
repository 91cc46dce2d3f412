"""A pod's place in its job, as the environments of the known controllers tell it. Pure.

Indexed Job         JOB_COMPLETION_INDEX
JobSet              the same, of the one replicated job
LeaderWorkerSet     LWS_WORKER_INDEX, LWS_GROUP_SIZE, LWS_LEADER_ADDRESS
Kubeflow Trainer    PET_NODE_RANK, PET_NNODES, PET_MASTER_ADDR, PET_MASTER_PORT
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from madrun.system.errors import ClusterError


class Environment(NamedTuple):
    """The variables of one controller; those that it does not set are empty."""

    controller: str
    rank: str
    size: str = ""
    address: str = ""
    port: str = ""


class PodPlace(NamedTuple):
    """Where a pod stands; 0 and empty is not told."""

    controller: str
    node_rank: int
    nnodes: int = 0
    address: str = ""
    port: int = 0


# A Trainer's pods are those of an Indexed Job too, and know more than its index.
ENVIRONMENTS = (
    Environment("Kubeflow Trainer", "PET_NODE_RANK", "PET_NNODES", "PET_MASTER_ADDR",
                "PET_MASTER_PORT"),
    Environment("LeaderWorkerSet", "LWS_WORKER_INDEX", "LWS_GROUP_SIZE", "LWS_LEADER_ADDRESS"),
    Environment("Indexed Job", "JOB_COMPLETION_INDEX"),
)  # fmt: skip


def place_of(environ: Mapping[str, str]) -> PodPlace | None:
    """The place that the environment tells, or None outside of such a pod.

    >>> place_of({"LWS_WORKER_INDEX": "1", "LWS_GROUP_SIZE": "2", "LWS_LEADER_ADDRESS": "s-0.s.ns"})
    PodPlace(controller='LeaderWorkerSet', node_rank=1, nnodes=2, address='s-0.s.ns', port=0)

    Raises ClusterError for what is no number.
    """
    for each in ENVIRONMENTS:
        if each.rank in environ:
            return PodPlace(
                each.controller,
                _number(environ, each.rank),
                _number(environ, each.size),
                environ.get(each.address, ""),
                _number(environ, each.port),
            )
    return None


def rank_of(environ: Mapping[str, str]) -> int:
    """The node rank; raises ClusterError where the environment does not tell it."""
    place = place_of(environ)
    if place is None:
        known = ", ".join(each.rank for each in ENVIRONMENTS)
        raise ClusterError(f"which pod of the job this is, is not known: none of {known} is set")
    return place.node_rank


def _number(environ: Mapping[str, str], name: str) -> int:
    text = environ.get(name, "0") if name else "0"
    if not text.isdecimal():
        raise ClusterError(f"{name}={text!r} is no number")
    return int(text)
