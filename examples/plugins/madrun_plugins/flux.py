"""Agents by Flux: one task on each host of a Flux instance, by ``flux run``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from madrun.backends.base import AgentStart, ToolCommand
from madrun.backends.tools.tool import AGENT_ENV, Tool
from madrun.backends.tools.tool_backend import backend_of


def command(start: AgentStart, addresses: Sequence[str], environ: Mapping[str, str]) -> ToolCommand:
    """flux's words. Flux orders tasks by its own ranks: it writes a host's name for node.name."""
    names = [host.address for host in start.hosts]
    argv = ["flux", "run", f"--nodes={len(names)}", f"--ntasks={len(names)}"]
    argv += [f"--requires=host:{','.join(names)}", *start.backend_args]
    argv += [*AGENT_ENV, *start.command("host:{{node.name}}", addresses), "--tool", "flux"]
    return ToolCommand(tuple(argv), {"PYTHONSAFEPATH": "1"})


BACKEND = backend_of(
    Tool(
        name="flux",
        programs=("flux",),
        package="install flux-core, or use --backend ssh",
        command=command,
        prefixes=("FLUX_",),
        all_or_none=True,
    )
)
