"""The groups of options that travel to the agents as they are, in the job spec."""

# Annotations are objects here, not text, which each start would have to compile and evaluate.

from typing import Annotated, NamedTuple

from madrun.options.option import BOTH, Option

# How the program is run: by the Python interpreter, as a module, or as it is.
PYTHON, MODULE, EXEC = "python", "module", "exec"

# fmt: off


class Master(NamedTuple):
    """Where the workers meet; an empty address and port 0 mean: chosen at the start.

    ``interface`` is the network interface for collectives (empty: the libraries choose).
    """

    addr: Annotated[str, Option("--master-addr", "Default: node 0.", "HOST", of=BOTH)] = ""
    port: Annotated[int, Option("--master-port", "0: node 0 chooses a free one.",
                                "PORT", 0, 65535, of=BOTH)] = 0
    interface: Annotated[str, Option("--interface",
        "The network interface for NCCL and Gloo. Default: they choose.", "NAME", of=BOTH)] = ""


class Workers(NamedTuple):
    """What each worker gets of its node, and is told."""

    device_binding: Annotated[str, Option("--device-binding",
        "A worker sees all the job's devices of its node, or only its own.",
        choices=("node", "worker"), of=BOTH)] = "node"
    bind_cores: Annotated[bool, Option("--bind-cores-to-rank",
        "Give each worker its share of the node's cores.", of=BOTH)] = False
    core_list: Annotated[str | None, Option("--bind-core-list",
        "Share only these cores: 0,2-4,6.", "LIST", of=BOTH)] = None
    threads: Annotated[int, Option("--omp-num-threads --num-cpu-threads-per-process",
        "OMP_NUM_THREADS. 0: the environment's, else its share of the cores.", "N",
        0, 65536, of=BOTH)] = 0
    local_rank_arg: Annotated[bool, Option("--local-rank-arg",
        "Pass --local_rank=N to the program.", of=BOTH)] = False

    @property
    def binds_cores(self) -> bool:
        """Whether each worker has cores of its own; to say which is to ask for it."""
        return self.bind_cores or self.core_list is not None


class Limits(NamedTuple):
    """How long things may take, in seconds."""

    grace: Annotated[float, Option("--grace",
        "Time between TERM and KILL, for all workers together.", low=0, high=86400, of=BOTH)] = 15.0
    heartbeat: Annotated[float, Option("--heartbeat-timeout",
        "Then a silent node is lost.", low=1, high=3600, of=BOTH)] = 5.0
    launch: Annotated[float, Option("--launch-timeout",
        "For all agents to check in.", low=0.1, high=86400, of=BOTH)] = 60.0
    ready: Annotated[float, Option("--ready-timeout",
        "For a server to be ready.", low=1, high=604800, of=BOTH)] = 1800.0
