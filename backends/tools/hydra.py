"""hydra, the mpiexec of MPICH, Intel MPI and MVAPICH: one agent per host."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from madrun.backends.base import FOLDER, AgentStart, ToolCommand
from madrun.backends.tools.openssh import asked_words, common_login, default_words
from madrun.backends.tools.tool import AGENT_ENV, Tool


def hydra(name: str, package: str, extra: str, settings: Mapping[str, str] | None = None) -> Tool:
    """One of the three. ``extra`` is the variable with further words for ssh, ``settings`` are
    what this one needs beyond the others."""

    def command(
        start: AgentStart, addresses: Sequence[str], environ: Mapping[str, str]
    ) -> ToolCommand:
        """mpiexec's words. hydra puts rank N on line N of the file, one on each (-ppn 1).

        -genvnone: the agents have the environment of a login on their host, not ours.
        """
        ssh = common_login(start.hosts, start.ssh, name)
        argv = ["mpiexec.hydra", "-f", f"{FOLDER}/hosts", "-n", str(len(start.hosts))]
        argv += ["-ppn", "1", "-genvnone", *start.backend_args]
        argv += [*AGENT_ENV, "PYTHONSAFEPATH=1"]
        argv += start.command("env:PMI_RANK", addresses)
        argv += ["--tool", name]
        words = [*asked_words(ssh), *environ.get(extra, "").split(), *default_words(ssh)]
        env = {extra: " ".join(words), **(settings or {})}
        hosts = "".join(f"{host.address}\n" for host in start.hosts)
        return ToolCommand(tuple(argv), env, {"hosts": hosts})

    return Tool(
        name=name,
        programs=("mpiexec.hydra", "mpiexec.mpich"),
        package=package,
        command=command,
        prefixes=("HYDRA_", "HYDI_", "MPIEXEC_", "I_MPI_", "MPICH_", "MV2_", "FI_"),
        all_or_none=True,
        ssh_variables=(extra,),
    )
