"""srun as a tool: one agent per node of a Slurm job, all in one step of it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from madrun.backends.base import AgentStart, ToolCommand
from madrun.backends.tools.openssh import Failure
from madrun.backends.tools.tool import AGENT_ENV, Tool
from madrun.system.errors import InputError

# What srun and slurmstepd say.
_LAUNCH_FAILED = r"Task launch for StepId=\S+ failed on node ([^\s:]+): (.*)"
_NOT_FOUND = r"slurmstepd-(\S+): error: execve\(\): (.*)"
# Those that srun ends because of it are terminated, and killed only much later.
_DIED = r"srun: error: ([^\s:]+): task \d+: (?!Exited with|Terminated)(.*)"
_WAITING = r"srun: Job \S+ step creation (?:temporarily|still) disabled, retrying( \(.*\))?"
_NOISE = (
    r"_step_signal: |: tasks? [0-9,-]+: (?:Exited with|Terminated|Killed)"
    r"|Job step aborted|Force Terminated "
)
_NODE_FAILED = r"Node failure on (\S+)|DUE TO NODE (\S+) FAILURE"

_COMMON = (
    "--mem=0",  # all of the job's
    "--cpu-bind=none",
    "--gpu-bind=none",
    "--mpi=none",
    "--export=ALL",
    "--input=none",
    "--kill-on-bad-exit=1",
    "--wait=0",  # agents end one after the other; a site's limit would cut their grace
)


def command(start: AgentStart, addresses: Sequence[str], environ: Mapping[str, str]) -> ToolCommand:
    """srun's words; raises InputError outside of an allocation and for hosts beyond it.

    Slurm orders the nodes of a step by itself: so an agent is told who it is by Slurm's name.
    """
    from madrun.hosts import slurm

    job = slurm.allocation(environ)
    if job is None:
        raise InputError(
            "--backend srun: this is no Slurm allocation; salloc or sbatch makes one, "
            "and --submit slurm writes and submits a batch script"
        )
    cpus = dict(zip(job.hosts, job.cpus, strict=True))
    names = [host.address for host in start.hosts]
    for name in names:
        if name not in cpus:
            raise InputError(f"--backend srun: host {name} is not in Slurm job {job.job_id}")
    argv = ["srun", f"--nodes={len(names)}", f"--ntasks={len(names)}", "--ntasks-per-node=1"]
    argv += [f"--nodelist={','.join(names)}", *_COMMON]
    if len({len(host.devices) for host in start.hosts}) == 1:
        # With steps that run already, the one we are in among them. Where Slurm has spread a
        # number of GPUs unequally (-G), 22.05 refuses such a step.
        argv += ["--overlap"]
    if len({cpus[name] for name in names}) == 1 and cpus[names[0]]:
        # With unequal nodes a number would cut the larger ones down; without it each gives all.
        argv += [f"--cpus-per-task={cpus[names[0]]}"]
    argv += ["--job-name=madrun", *start.backend_args]
    argv += [*AGENT_ENV, *start.command("name:SLURMD_NODENAME", addresses)]
    argv += ["--tool", "srun"]
    return ToolCommand(tuple(argv), {"PYTHONSAFEPATH": "1"})


def find_failure(line: str) -> Failure | None:
    """What srun or slurmstepd says of one node.

    >>> find_failure("srun: error: Task launch for StepId=3.0 failed on node n2: No route")
    Failure(host='n2', reason='Slurm cannot start a task there: No route')
    """
    launch, program = re.search(_LAUNCH_FAILED, line), re.search(_NOT_FOUND, line)
    died = re.search(_DIED, line)
    if launch is not None:
        return Failure(launch[1], f"Slurm cannot start a task there: {launch[2]}")
    if program is not None:
        return Failure(program[1], f"cannot be started there: {program[2]}")
    if died is not None:
        return Failure(died[1], f"the agent did not start: {died[2]}")
    return None


def is_noise(line: str) -> bool:
    """Whether a line only says that tasks have ended, as srun does for each node."""
    return re.search(_NOISE, line) is not None


def news(line: str) -> str:
    """What the user should know at once: a node that fails, a step that has to wait.

    >>> news("srun: Job 3 step creation temporarily disabled, retrying (Busy)")
    'Slurm does not start the step yet: another one without --overlap holds the nodes (Busy)'
    """
    failed, found = re.search(_NODE_FAILED, line), re.search(_WAITING, line)
    if failed is not None:
        return f"Slurm says that node {failed[1] or failed[2]} has failed"
    if found is None:
        return ""
    text = "Slurm does not start the step yet: another one without --overlap holds the nodes"
    return text + (found[1] or "")


# Of the variables that srun reads as options (SLURM_NTASKS_PER_NODE, SLURM_CPUS_PER_TASK and many
# more, which sbatch sets for the whole job) it gets none: a step of ours is one task on each node,
# with all that the job has there.
TOOL = Tool(
    name="srun",
    programs=("srun",),
    package="it belongs to Slurm (slurm-client); --backend ssh needs no tool",
    command=command,
    prefixes=(
        "SLURM_CONF", "SLURM_JOB_ID", "SLURM_JOBID", "SLURM_JOB_NODELIST",
        "SLURM_JOB_CPUS_PER_NODE", "SLURM_WORKING_CLUSTER", "SLURM_CLUSTERS", "SLURM_JWT",
        "MUNGE_",
    ),
    all_or_none=True,
    carries_signals=True,
    find_failure=find_failure,
    is_noise=is_noise,
    news=news,
)  # fmt: skip
