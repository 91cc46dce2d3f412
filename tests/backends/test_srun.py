"""The command that srun is started by, and what its lines mean; the real srun is in tests/slurm."""

from __future__ import annotations

from typing import Any

import pytest

from madrun.backends.base import AgentStart, Allocation, Situation
from madrun.backends.registry import choose
from madrun.backends.srun.entry import BACKEND
from madrun.backends.srun.tool import TOOL
from madrun.backends.tools.session import tool_environment
from madrun.backends.tools.slurm_job import own_job
from madrun.backends.tools.tool_output import Ended, Words
from madrun.hosts.hostfile import Host
from madrun.system.errors import ClusterError, InputError

JOB = {
    "SLURM_JOB_ID": "17",
    "SLURM_JOB_NODELIST": "n[1-3]",
    "SLURM_JOB_CPUS_PER_NODE": "64(x2),32",
}


def launch(*hosts: tuple[str, int], **more: Any) -> AgentStart:
    made = tuple(Host(name, tuple(range(count))) for name, count in hosts)
    return AgentStart(made, "/py", True, (1, 2), "ab" * 32, "e30", 60.0, **more)


def words(*hosts: tuple[str, int], **more: Any) -> list[str]:
    return [*TOOL.command(launch(*hosts, **more), ["10.0.0.1"], JOB).argv]


def test_one_task_on_each_node_with_all_that_the_job_has_there() -> None:
    found = words(("n2", 8), ("n1", 8), backend_args=("--network=x",))
    assert found[:5] == [
        "srun", "--nodes=2", "--ntasks=2", "--ntasks-per-node=1", "--nodelist=n2,n1",
    ]  # fmt: skip
    assert {
        "--overlap", "--mem=0", "--cpu-bind=none", "--gpu-bind=none", "--cpus-per-task=64",
        "--kill-on-bad-exit=1", "--wait=0", "--input=none", "--network=x",
    } <= set(found)  # fmt: skip
    agent = found[found.index("/py") :]
    assert agent[agent.index("--node-rank") + 1] == "name:SLURMD_NODENAME"
    assert agent[-2:] == ["--tool", "srun"]


def test_unequal_nodes_are_not_cut_to_the_smallest() -> None:
    assert [word for word in words(("n2", 8), ("n3", 8)) if word.startswith("--cpus-per")] == []


def test_unequal_gpus_cannot_overlap() -> None:
    assert "--overlap" not in words(("n1", 3), ("n2", 1))


def test_what_the_job_says_of_tasks_is_not_for_our_step() -> None:
    options = (
        "NTASKS", "NTASKS_PER_NODE", "CPUS_PER_TASK", "GPUS_PER_TASK", "GPU_BIND", "CPU_BIND",
        "EXPORT_ENV", "MEM_PER_CPU", "DISTRIBUTION", "HINT",
    )  # fmt: skip
    environ = {**JOB, **{f"SLURM_{name}": "1" for name in options}, "SLURM_CONF": "/etc/s.conf"}
    assert set(tool_environment(environ, TOOL.prefixes)) == {*JOB, "SLURM_CONF"}


@pytest.mark.parametrize(
    ("environ", "host", "said"),
    [({}, "n1", "this is no Slurm allocation"), (JOB, "n4", "host n4 is not in Slurm job 17")],
)
def test_hosts_beyond_the_job(environ: dict[str, str], host: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        TOOL.command(launch((host, 1)), ["10.0.0.1"], environ)


def test_a_node_on_which_no_task_starts_is_named() -> None:
    hosts = [Host("n1", (0,)), Host("n2", (0,))]
    found = Words(hosts, "/py", TOOL)
    line = b"srun: error: Task launch for StepId=17.0 failed on node n2: Communication failure\n"
    reason = "Slurm cannot start a task there: Communication failure"
    assert found.take(line) == Ended(1, reason, was_started=False)


def test_auto_is_srun_in_a_job() -> None:
    hosts = (Host("n1", (0,)),)
    choice = choose("auto", Situation(hosts, True), Allocation("Slurm job 17", "srun", hosts))
    assert choice == (BACKEND, "inside Slurm job 17")


def test_without_scontrol_the_job_is_not_guessed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ClusterError, match="inside Slurm job 17, but 'scontrol show job' fails"):
        own_job(JOB, None)


def test_outside_of_slurm_nobody_is_asked() -> None:
    assert own_job({"PATH": "/nowhere"}, None) is None
