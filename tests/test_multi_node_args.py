"""``multi_node_args`` for real: both nodes of a job are started by hand, on this machine."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path

import pytest

from madrun.agent.master_port import MasterPort
from support.here import madrun, running

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = '#!/bin/sh\nexec $MAD_MULTI_NODE_RUNNER "$@"\n'


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "run.sh"
    path.write_text(SCRIPT, encoding="utf-8")
    path.chmod(0o755)
    return path


def free_port() -> int:
    """Below the ports of outgoing connections: two nodes on one machine try it very often."""
    held = MasterPort(0)
    held.release()
    return held.port


def config(node_rank: int, port: int) -> str:
    """As people wrote it: Python's quotes, numbers as text."""
    return str(
        {
            "multi_node_args": {
                "RUNNER": "torchrun",
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(port),
                "NNODES": "2",
                "NODE_RANK": str(node_rank),
                "MAD_RUNTIME_NGPUS": "1",
                "GLOO_SOCKET_IFNAME": "lo",
            }
        }
    )


@pytest.mark.torch
def test_two_nodes_started_by_hand_train_together(script: Path) -> None:
    port = free_port()
    words = [str(script), str(ROOT / "examples" / "train_ddp.py")]
    with running("--additional-context", config(1, port), *words, cwd=script.parent) as other:
        try:
            done = madrun("--additional-context", config(0, port), *words, cwd=script.parent)
        except subprocess.TimeoutExpired as late:
            other.end(signal.SIGTERM)
            raise AssertionError(f"node 0: {late.output}\nnode 1: {other.said}") from late
        assert (done.returncode, other.end()) == (0, 0), done.stderr + other.said
    assert "loss" in done.stdout


def test_a_node_by_hand_ends_as_its_program_does(tmp_path: Path) -> None:
    done = madrun(
        "--additional-context", config(1, 6006), "--no-python", "sh", "-c",
        'echo $NODE_RANK of $NNODES, $GLOO_SOCKET_IFNAME; exit 3', cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 3, done
    assert done.stdout == "[node1:sh] 1 of 2, lo\n"
    assert "failed first: exited with status 3" in done.stderr


def test_a_node_by_hand_is_ended_by_a_signal(tmp_path: Path) -> None:
    words = ["--additional-context", config(0, 6006), "--no-python", "sh", "-c"]
    with running(*words, "sleep 1000 & echo ready; wait", cwd=tmp_path) as job:
        job.until("ready")
        assert job.end(signal.SIGTERM) == 143


def test_mpirun_starts_all_workers_of_all_hosts(script: Path) -> None:
    args = {"RUNNER": "mpirun", "HOST_LIST": "localhost:2"}
    root = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    text = json.dumps({"multi_node_args": args, "env_vars": root})
    words = ["--additional-context", text, str(script), "sh", "-c"]
    done = madrun(*words, "echo $OMPI_COMM_WORLD_RANK of $OMPI_COMM_WORLD_SIZE", cwd=script.parent)
    assert done.returncode == 0, done.stderr
    assert sorted(line.split("] ")[1] for line in done.stdout.splitlines()) == ["0 of 2", "1 of 2"]
