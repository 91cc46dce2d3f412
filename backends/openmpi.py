"""The openmpi backend: one agent per host by mpirun, of Open MPI 4 or 5.

Settings are made in the environment, for both versions: what a user adds on the command line wins.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, Sequence

from madrun.backends.base import FOLDER, AgentStart, ToolCommand
from madrun.backends.tools.openssh import asked_words, common_login, default_words
from madrun.backends.tools.tool import AGENT_ENV, Tool
from madrun.backends.tools.tool_backend import backend_of

# ssh's words as Open MPI 4 and as PRRTE (5) read them; a site's own are kept.
_EXTRA = ("OMPI_MCA_plm_rsh_args", "PRTE_MCA_plm_ssh_args")
_ROOT = ("ALLOW_RUN_AS_ROOT", "ALLOW_RUN_AS_ROOT_CONFIRM")
_SIBLINGS = ("orterun", "prterun", "ompi_info")


def command(start: AgentStart, addresses: Sequence[str], environ: Mapping[str, str]) -> ToolCommand:
    """mpirun's words. The mapping ``seq`` puts rank N on line N of the file, whatever else
    mpirun knows of the hosts. No core is bound: workers get theirs from the agent."""
    ssh = common_login(start.hosts, start.ssh, "openmpi")
    count = len(start.hosts)
    argv = ["mpirun", "-np", str(count), "--hostfile", f"{FOLDER}/hosts"]
    argv += ["--map-by", "seq", "--bind-to", "none", *start.backend_args]
    argv += [*AGENT_ENV, "PYTHONSAFEPATH=1"]
    argv += start.command("env:OMPI_COMM_WORLD_RANK", addresses)
    argv += ["--tool", "openmpi"]
    asked, defaults = asked_words(ssh), default_words(ssh)
    env = {name: " ".join([*asked, *environ.get(name, "").split(), *defaults]) for name in _EXTRA}
    env |= {
        # Each host by our own ssh: a tree of logins would need keys on the nodes.
        "OMPI_MCA_plm_rsh_no_tree_spawn": "1",
        "PRTE_MCA_plm_ssh_no_tree_spawn": "1",
        # What a killed mpirun leaves goes with our own folder; on the nodes it is orted's.
        "OMPI_MCA_orte_local_tmpdir_base": FOLDER,
        "PRTE_MCA_prte_local_tmpdir_base": FOLDER,
        # An agent that fails is madrun's to deal with, and does not end the others.
        "OMPI_MCA_orte_abort_on_non_zero_status": "0",
        "PRTE_MCA_prte_abort_on_non_zero_status": "0",
    }
    if os.geteuid() == 0:
        env |= {f"{kin}_{name}": "1" for kin in ("OMPI", "PRTE") for name in _ROOT}
    # It compares names, and does not know this machine by another one.
    names = [socket.gethostname() if _is_loopback(h.address) else h.address for h in start.hosts]
    hosts = "".join(f"{name} slots=1\n" for name in names)
    return ToolCommand(tuple(argv), env, {"hosts": hosts})


def _is_loopback(address: str) -> bool:
    return address in ("localhost", "::1") or address.startswith("127.")


def is_open_mpi(path: str) -> bool:
    """Not the mpirun of another MPI, which has the same name."""
    real = os.path.realpath(path)
    if "hydra" in os.path.basename(real):
        return False
    folders = {os.path.dirname(path), os.path.dirname(real)}
    return any(os.path.exists(os.path.join(f, name)) for f in folders for name in _SIBLINGS)


TOOL = Tool(
    name="openmpi",
    programs=("mpirun", "mpirun.openmpi", "orterun", "prterun"),
    package="install Open MPI (openmpi-bin), or use --backend ssh",
    command=command,
    prefixes=("OMPI_", "PRTE_", "PMIX_", "OPAL_", "ORTE_"),
    all_or_none=True,
    ssh_variables=_EXTRA,
    accepts=is_open_mpi,
)
BACKEND = backend_of(TOOL)
