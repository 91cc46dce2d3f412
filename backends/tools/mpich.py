"""The mpich backend: one agent per host by hydra, the mpiexec of MPICH, Intel MPI and MVAPICH."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from madrun.backends.base import Launch
from madrun.backends.tools.openssh import (
    asked_words,
    common_login,
    default_words,
    quick_key_exchange,
)
from madrun.backends.tools.tool import AGENT_ENV, FOLDER, ToolCommand


@dataclass(frozen=True, slots=True)
class Hydra:
    """See madrun.backends.tools.tool.Tool. ``extra`` is the variable with further words for ssh,
    ``settings`` are what one of the three needs beyond the others."""

    name: str
    package: str
    extra: str
    settings: Mapping[str, str] = field(default_factory=dict)
    programs: tuple[str, ...] = ("mpiexec.hydra", "mpiexec.mpich")
    prefixes: tuple[str, ...] = ("HYDRA_", "HYDI_", "MPIEXEC_", "I_MPI_", "MPICH_", "MV2_", "FI_")
    labels: bool = False
    all_or_none: bool = True

    def command(
        self,
        launch: Launch,
        addresses: Sequence[str],
        environ: Mapping[str, str],
        key_exchange: str,
    ) -> ToolCommand:
        """mpiexec's words. hydra puts rank N on line N of the file, one on each (-ppn 1).

        -genvnone: the agents have the environment of a login on their host, not ours.
        """
        ssh = common_login(launch.hosts, launch.ssh, self.name)
        argv = ["mpiexec.hydra", "-f", f"{FOLDER}/hosts", "-n", str(len(launch.hosts))]
        argv += ["-ppn", "1", "-genvnone", *launch.backend_args]
        argv += [*AGENT_ENV, "PYTHONSAFEPATH=1"]
        argv += launch.command("env:PMI_RANK", addresses)
        argv += ["--tool", self.name]
        words = [*asked_words(ssh), *environ.get(self.extra, "").split()]
        words += default_words(ssh, key_exchange)
        hosts = "".join(f"{host.address}\n" for host in launch.hosts)
        return ToolCommand(
            tuple(argv), {self.extra: " ".join(words), **self.settings}, {"hosts": hosts}
        )

    def key_exchange(self, launch: Launch, environ: Mapping[str, str]) -> str:
        """See madrun.backends.tools.tool.Tool."""
        words = [*asked_words(launch.ssh), *environ.get(self.extra, "").split()]
        return quick_key_exchange(words, launch.hosts[0].address, environ)

    def accepts(self, path: str) -> bool:
        """Any of these names is hydra."""
        return True


MPICH = Hydra(
    "mpich", "install the package mpich, or use --backend ssh", "HYDRA_LAUNCHER_EXTRA_ARGS"
)
MVAPICH = Hydra(
    "mvapich",
    "MVAPICH's bin folder has to be on the PATH, or use --backend ssh",
    "HYDRA_LAUNCHER_EXTRA_ARGS",
)
IMPI = Hydra(
    "impi",
    "Intel MPI's bin folder has to be on the PATH (source setvars.sh), or use --backend ssh",
    "I_MPI_HYDRA_BOOTSTRAP_EXEC_EXTRA_ARGS",
    # Under a scheduler it would follow the scheduler's places instead of -ppn 1.
    {"I_MPI_JOB_RESPECT_PROCESS_PLACEMENT": "off", "I_MPI_PIN": "off"},
)
