"""What the launchers of inference servers have in common. Pure functions.

PROGRAM is the model that is served, and the words after it go to the server. Where the model is an
option of its own (``model`` in the launcher's section), PROGRAM runs against the server instead, as
its client. A script (or a Python file, a module, ``--no-python``) without that option does
everything by itself: it runs once per node, and gets the launcher's variables.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence

from madrun.launchers import native, per_node
from madrun.launchers.environment import endpoint
from madrun.launchers.launcher import NodeContext, Program
from madrun.launchers.plan import CLIENT, SERVER, Peer, PortRequest, Probe, ProcessPlan
from madrun.options.option_types import Kind, port, text, words
from madrun.system.errors import InputError
from madrun.wire.jobspec import PYTHON, JobSpec

# The order in which they are told to end: whoever uses another ends before it.
CLIENT_ENDS, ROUTER_ENDS, SERVER_ENDS, RAY_ENDS = 0, 1, 2, 3

OPTIONS: dict[str, Kind] = {"model": text, "port": port, "args": words, **per_node.DEGREES}
_SCRIPTS = (".sh", ".py")


def default_program(options: Mapping[str, str]) -> Program | None:
    """The model, where an option names it."""
    return Program((options["model"],), option="model") if "model" in options else None


def model_of(spec: JobSpec) -> str:
    """The model that is to be served; empty where a script sees to that."""
    given = spec.options.get("model", "")
    return given or ("" if _is_script(spec) else spec.argv[0])


def server_words(spec: JobSpec) -> tuple[str, ...]:
    """The words for the server: those of its config section, then those after the model."""
    configured = json.loads(spec.options.get("args", "[]"))
    return (*configured, *(() if "model" in spec.options else spec.argv[1:]))


def client_of(spec: JobSpec) -> tuple[str, ...]:
    """The command that runs against the server once it is ready; empty: none.

    Raises InputError for two of them, and for one that would never know when to begin.
    """
    if not model_of(spec):
        if spec.client:
            raise InputError(
                f"--client: {spec.argv[0]} serves by itself, and nobody knows when it is ready; "
                "let it start its client"
            )
        return ()
    if "model" not in spec.options:
        return spec.client
    if spec.client:
        raise InputError(
            f"--client and PROGRAM: the model is {spec.options['model']}, "
            f"so that {spec.argv[0]} is the client already"
        )
    if not _is_script(spec):
        return spec.argv
    return per_node.script_command(spec) if per_node.is_script(spec) else native.command(spec, 0)


def wish(spec: JobSpec, option: str, usual: int) -> PortRequest:
    """A port that an option may name."""
    return PortRequest(option, per_node.degree(spec, option, usual), given=option in spec.options)


def peers(
    context: NodeContext, ports: Callable[[JobSpec, int], Sequence[PortRequest]]
) -> tuple[Peer, ...]:
    """All nodes of the job; before anything has started, by name and with the usual ports.

    ``ports`` is the launcher's own function: what it wishes for on a node.
    """
    spec = context.spec
    return context.peers or tuple(
        Peer(host, tuple(each.number for each in ports(spec, node_rank)))
        for node_rank, host in enumerate(spec.world.hosts)
    )


def url(peer: Peer, path: str = "") -> str:
    """The address of a server on a node, by its first port.

    >>> url(Peer("fd00::1", (8000,)), "/v1/models")
    'http://[fd00::1]:8000/v1/models'
    """
    return f"http://{endpoint(peer.address, peer.ports[0])}{path}"


def server(
    spec: JobSpec,
    role: str,
    rank: int,
    argv: Sequence[str],
    env: dict[str, str],
    ready: tuple[Probe, ...] = (),
    stop_order: int = SERVER_ENDS,
) -> ProcessPlan:
    """A process that runs until it is told to end."""
    return ProcessPlan(
        role=role,
        rank=rank,
        local_rank=0,
        argv=tuple(argv),
        env=env,
        cwd=spec.workdir,
        kind=SERVER,
        ready=ready,
        stop_order=stop_order,
    )


def with_client(
    spec: JobSpec, processes: Sequence[ProcessPlan], urls: Sequence[str], ready: Sequence[Probe]
) -> tuple[ProcessPlan, ...]:
    """The processes of node 0, and the client behind them where there is one.

    It finds the server's address in MADRUN_SERVER_URL; those of several, with commas between
    them, in MADRUN_SERVER_URLS. It starts once all ``ready`` probes have answered as well.
    """
    argv = client_of(spec)
    if not argv:
        return tuple(processes)
    last = processes[-1]
    own = {"MADRUN_SERVER_URL": urls[0], "MADRUN_SERVER_URLS": ",".join(urls)}
    client = ProcessPlan(
        role="client",
        rank=last.rank + 1,
        local_rank=len(processes),
        argv=argv,
        env={**last.env, **own},
        cwd=spec.workdir,
        kind=CLIENT,
        after=tuple(ready),
        stop_order=CLIENT_ENDS,
    )
    return (*processes, client)


def rank_of(spec: JobSpec, node_rank: int, on_first: int) -> int:
    """The number of a node's first process, where node 0 has ``on_first`` and others have one."""
    beside = 1 if client_of(spec) else 0
    return on_first + beside + node_rank - 1 if node_rank else 0


def _is_script(spec: JobSpec) -> bool:
    return spec.mode != PYTHON or spec.argv[0].endswith(_SCRIPTS)
