"""Backends by name, and which one a job gets when it names none."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from madrun.backends.local_host import is_here
from madrun.hosts.hostfile import Host
from madrun.system.errors import InputError

if TYPE_CHECKING:
    # Not needed, and so not loaded, for a job on this machine.
    from madrun.backends.base import Backend, Launch, ToolListener
    from madrun.backends.tools.slurm_job import SlurmJob
    from madrun.backends.tools.tool import Tool, ToolCommand

LOCAL = "local"
# Backends that run one tool for all hosts: module and name of the tool there.
TOOLS = {
    "pdsh": ("madrun.backends.tools.pdsh", "PDSH"),
    "openmpi": ("madrun.backends.tools.openmpi", "OPENMPI"),
    "mpich": ("madrun.backends.tools.mpich", "MPICH"),
    "impi": ("madrun.backends.tools.mpich", "IMPI"),
    "mvapich": ("madrun.backends.tools.mpich", "MVAPICH"),
    "srun": ("madrun.backends.tools.srun", "SRUN"),
}
HERE = (LOCAL, "ssh", *TOOLS)
# Named in hostfiles, habits and DeepSpeed command lines; a launch by one of them is refused.
TO_COME: tuple[str, ...] = ()
NAMES = (*HERE, *TO_COME)
# What DeepSpeed's launcher calls them.
_ALIASES = {"slurm": "srun"}


class Choice(NamedTuple):
    """A job's backend, and in a few words why it is this one."""

    name: str
    reason: str


def is_known(name: str) -> bool:
    """Whether this is the name of a backend, in any case, or DeepSpeed's name for one."""
    return name.lower() in NAMES or name.lower() in _ALIASES


def slurm_job(name: str, environ: Mapping[str, str], nproc_per_node: int | None) -> SlurmJob | None:
    """The Slurm job whose nodes a launch without hosts is for; None outside of one.

    ``name`` as for ``choose``: who asks for another backend does not mean Slurm's nodes.
    """
    name = _ALIASES.get(name.lower(), name.lower())
    if name not in ("auto", "srun") or not environ.get("SLURM_JOB_ID"):
        return None
    from madrun.backends.tools.slurm_job import own_job

    return own_job(environ, nproc_per_node)


def choose(name: str, hosts: Sequence[Host], local: bool, slurm_job: str = "") -> Choice:
    """The backend of a job: the one named, in any case; for ``auto`` what its hosts ask for.

    ``local`` is true where no host was named at all, ``slurm_job`` the number of the Slurm job
    whose nodes the hosts are. auto: srun in a Slurm job, the local backend where the only host
    is this machine, else ssh. Raises InputError for an unknown name, and for ``local`` where
    another machine is among the hosts.
    """
    name = _ALIASES.get(name.lower(), name.lower())
    if name not in ("auto", *NAMES):
        raise InputError(f"unknown backend {name!r}; known are auto, {', '.join(HERE)}")
    if name == LOCAL:
        others = [host.name for host in hosts if not local and not is_here(host)]
        if others:
            raise InputError(f"--backend local: {others[0]} is another machine")
    if name != "auto":
        return Choice(name, "as asked")
    if slurm_job:
        return Choice("srun", f"inside Slurm job {slurm_job}")
    if local:
        return Choice(LOCAL, "no other host is named")
    if len(hosts) == 1 and is_here(hosts[0]):
        return Choice(LOCAL, "the only host is this machine")
    return Choice("ssh", "there are other hosts, and it needs no tool")


def check_is_here(name: str) -> None:
    """Raises InputError for a backend that is known but yet to come."""
    if name not in HERE:
        raise InputError(f"--backend {name} is not in this version; there are {', '.join(HERE)}")


def make(name: str, launch: Launch, listener: ToolListener) -> Backend:
    """The backend that carries out a launch."""
    check_is_here(name)
    if name in TOOLS:
        from madrun.backends.tools.tool import ToolBackend

        return ToolBackend(_tool(name), launch, listener)
    from madrun.backends.ssh.backend import SshBackend

    return SshBackend(launch, listener)


def tool_command(name: str, launch: Launch, addresses: Sequence[str]) -> ToolCommand | None:
    """How the backend's tool would be started, or None for a backend without one.

    Raises InputError for hosts and options that the tool cannot do.
    """
    return _tool(name).command(launch, addresses, os.environ, "") if name in TOOLS else None


def _tool(name: str) -> Tool:
    from importlib import import_module

    module, attribute = TOOLS[name]
    tool: Tool = getattr(import_module(module), attribute)
    return tool
