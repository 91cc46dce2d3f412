"""The agent's place in a job that a runner started: what its command line says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from madrun.system.errors import InputError

_FROM_ENVIRONMENT, _FROM_HOST, _FROM_NAME = "env:", "host:", "name:"


class Place(NamedTuple):
    """The agent's place in the job, as its command line gives it.

    ``node_rank`` is -1 where the place is given by the name of its ``host``: then the job spec
    tells the rank. ``tool`` names the tool that carries all agents' output on one way (pdsh,
    mpirun, ...); empty where each agent has its own, and the end of stdin means that the runner
    is gone.
    """

    addresses: tuple[str, ...]
    ports: tuple[int, int]
    runner_key: str
    node_rank: int
    patience: float
    host: str = ""
    tool: str = ""


def parse_place(argv: list[str], environ: Mapping[str, str] | None = None) -> Place:
    """The options that a backend gives; only our own runner writes them. Raises InputError."""
    values = _options(argv)
    try:
        control, output = values["--ports"].split(",")
        if "--world-info" in values:
            from madrun.hosts import world_info

            world_info.decode(values["--world-info"])
        node_rank, host = _node_rank(values["--node-rank"], environ or {})
        return Place(
            addresses=tuple(values["--runner"].split(",")),
            ports=(int(control), int(output)),
            runner_key=values["--runner-key"],
            node_rank=node_rank,
            patience=float(values["--patience"]),
            host=host,
            tool=values.get("--tool", ""),
        )
    except (KeyError, ValueError) as error:
        raise InputError(f"not a command line of a madrun runner: {error}") from None


def place_under_tool(argv: list[str], environ: Mapping[str, str]) -> tuple[int, str] | None:
    """Node rank and host name for a guard, which has loaded next to nothing; None for no tool."""
    values = _options(argv)
    if "--tool" not in values:
        return None
    try:
        return _node_rank(values["--node-rank"], environ)
    except (KeyError, ValueError):
        return None  # the core has said what is wrong


def _options(argv: list[str]) -> dict[str, str]:
    return dict(zip(argv[::2], argv[1::2], strict=False))


def _node_rank(text: str, environ: Mapping[str, str]) -> tuple[int, str]:
    """``3``; ``env:NAME``, the variable in which the tool says it; ``host:NAME``, this host;
    ``name:NAME``, the variable in which the tool says this host's name.

    >>> _node_rank("env:PMI_RANK", {"PMI_RANK": "3"}), _node_rank("host:node07", {})
    ((3, ''), (-1, 'node07'))
    """
    if text.startswith(_FROM_HOST):
        return -1, text[len(_FROM_HOST) :]
    if text.startswith(_FROM_NAME):
        name = text[len(_FROM_NAME) :]
        if not environ.get(name):
            raise InputError(f"the tool has not set {name}: the host's name is not known")
        return -1, environ[name]
    if text.startswith(_FROM_ENVIRONMENT):
        name = text[len(_FROM_ENVIRONMENT) :]
        if name not in environ:
            raise InputError(f"the tool has not set {name}: the node rank is not known")
        return int(environ[name]), ""
    return int(text), ""
