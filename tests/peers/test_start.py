"""The start: nothing runs before all can, and arguments, working directory and port are right."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

from support.cluster import BIN, Cluster
from support.here import environment, madrun, planned, running, shown
from support.jobs import EXAMPLES
from support.programs import PATIENCE


def test_nobody_starts_before_everybody_is_there(cluster: Cluster) -> None:
    """DeepSpeed: with one node unreachable the others started, and hung."""
    mark = cluster.share / "started-without-all"
    done = cluster.madrun("--hosts", "node01,nowhere", "--no-python", "touch", mark)
    assert done.returncode == 125
    assert "nowhere  unreachable: the name nowhere cannot be resolved" in done.stderr
    assert not mark.exists()


def test_a_port_in_use_is_named_and_nobody_starts() -> None:
    """accelerate #2240, #647, pytorch #150532: a port in use was found out by the workers."""
    with socket.create_server(("", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = madrun("--master-port", port, "--no-python", "echo", "started")
    assert (done.returncode, done.stdout) == (125, "")
    assert f"master port {port} cannot be used here: Address already in use" in done.stderr


SERVE = """
import os, signal, socket
port = int(os.environ["MASTER_PORT"])
server = socket.create_server(("", port))
print("port", port, flush=True)
signal.pause()
"""


def test_a_second_job_has_a_port_of_its_own() -> None:
    """DeepSpeed #191, #3916: always port 29500, so that the second job found it in use."""
    words = ["--no-python", sys.executable, "-c", SERVE]
    with running(*words) as one, running(*words) as two:
        assert one.until(r"port (\d+)") != two.until(r"port (\d+)")
        assert [one.end(signal.SIGTERM), two.end(signal.SIGTERM)] == [143, 143]


def test_nodes_of_different_sizes_are_one_ring(cluster: Cluster) -> None:
    """accelerate #2780, #327: different numbers of GPUs per node were not possible."""
    done = cluster.madrun("--hosts", "node01:3,node02:1", EXAMPLES / "ring.py")
    assert (done.returncode, done.stdout) == (0, "[node01:0] ring of 4 ranks: sum 6\n")


HOSTILE = ["a b", "it's", '"x"', "$HOME", "*", "#", ";", "(x)", "\\", "", "%h %n", "--x=a b", "\n"]


def test_arguments_arrive_as_they_are() -> None:
    """DeepSpeed #267, #3967, #4523, #4716: seven rounds of quoting the user's arguments.

    On other hosts: tests/on_hosts/test_job.py.
    """
    show = "import sys; print(ascii(sys.argv[1:]))"
    done = madrun("--no-prefix", "--no-python", sys.executable, "-c", show, *HOSTILE)
    assert done.stdout == f"{HOSTILE!a}\n", done.stderr


def test_a_folder_with_a_blank(tmp_path: Path) -> None:
    """Megatron-DeepSpeed #125, #126: ``cd`` failed on a blank, and the job ran in $HOME."""
    folder = tmp_path / "with blank"
    folder.mkdir()
    assert shown("--workdir", folder, "--no-python", "pwd", env={"PWD": ""}) == [str(folder)]


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    """Megatron-DeepSpeed #125, #126."""
    done = madrun("--workdir", tmp_path / "no such", "--no-python", "echo", "started")
    assert (done.returncode, done.stdout) == (125, "")
    assert f"localhost  working directory {tmp_path}/no such is not there" in done.stderr


SHOW = """
import ipaddress, os, socket
address = os.environ["MASTER_ADDR"]
assert not ipaddress.ip_address(socket.gethostbyname(address)).is_loopback
if os.environ["RANK"] == "0":
    socket.create_server((address, 0))  # it is an address of this node
print(address)
"""


def test_the_master_address_is_one_of_node_0_that_the_others_reach(cluster: Cluster) -> None:
    """DeepSpeed #5136, accelerate #2468: ``hostname -I`` named the wrong interface first."""
    words = ("--hosts", "node02,node03", "--no-prefix", "--no-python", sys.executable, "-c", SHOW)
    done = cluster.madrun(*words)
    assert done.returncode == 0, done.stderr
    assert len(set(done.stdout.split())) == 1
    done = cluster.madrun("--master-addr", "node02", *words)
    assert done.stdout.split() == ["node02", "node02"]


def test_a_broken_driver_here_is_no_concern_of_the_launch(tmp_path: Path) -> None:
    """DeepSpeed #535, #2052: the launcher needed a working accelerator where it was called."""
    broken = tmp_path / "nvidia-smi"
    broken.write_text("#!/bin/sh\necho 'Failed to initialize NVML' >&2; exit 9\n")
    broken.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    assert planned("--hosts", "node[1-2]:8", env={"PATH": path})["world_size"] == 16
    assert shown("--no-python", "echo", "ran", env={"PATH": path}) == ["ran"]


def test_by_hand_the_address_is_asked_for() -> None:
    """DeepSpeed #5510: with --no_ssh and no master address it ran ssh all the same."""
    done = subprocess.run(
        [BIN / "madagent", "--hosts", "192.0.2.1:1,192.0.2.2:1", "--node-rank", "0", "train.py"],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "--master-addr is needed" in done.stderr


def test_neither_runner_nor_agent_imports_one(tmp_path: Path) -> None:
    """DeepSpeed #7252, #7918: the launcher imported torch, slow and with a context on GPU 0."""
    for name in ("torch", "deepspeed", "numpy", "sitecustomize_of_nobody"):
        (tmp_path / f"{name}.py").write_text(f"raise SystemExit('{name} was imported')\n")
    assert shown("--no-python", "echo", "ran", env={"PYTHONPATH": str(tmp_path)}) == ["ran"]


def test_no_file_of_ours_stays(tmp_path: Path) -> None:
    """DeepSpeed: a pid file stayed behind, and stopped the next job."""
    places = dict.fromkeys(("HOME", "TMPDIR", "XDG_RUNTIME_DIR", "XDG_CACHE_HOME"), str(tmp_path))
    for status in (0, 1):
        done = madrun("--no-python", "sh", "-c", f"exit {status}", cwd=tmp_path, env=places)
        assert done.returncode == status
    assert list(tmp_path.iterdir()) == []


def test_no_local_rank_is_added_to_the_arguments() -> None:
    """01-ai/Yi #69, Firefly #30, Megatron-DeepSpeed #178: --local_rank=N was forced on scripts."""
    worker = planned("--hosts", "a:2")["nodes"][0]["processes"][1]
    assert worker["argv"][-1] == "train.py"


def test_the_local_rank_is_added_where_it_is_asked_for() -> None:
    """01-ai/Yi #69, Firefly #30, Megatron-DeepSpeed #178."""
    worker = planned("--hosts", "a:2", "--local-rank-arg")["nodes"][0]["processes"][1]
    assert worker["argv"][-2:] == ["train.py", "--local_rank=1"]
