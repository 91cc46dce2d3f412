"""Servers under srun madagent: their peers have addresses, as with a runner."""

from __future__ import annotations

import shlex
import sys

from support.cluster import Cluster
from support.engines import ENV, GENERATE
from support.slurm import AGENTS

CLIENT = shlex.join([sys.executable, GENERATE])
SLURM = ["-N2", "-c2", "--gpus-per-node=1"]
MODEL = "/no/such/model"
SHOW = ["--no-python", "sh", "-c", 'echo "$NODE_RANK: $SGLANG_NODE_IPS $VLLM_HOST_IP"']


def test_sglang_over_two_nodes_and_its_client(cluster: Cluster) -> None:
    words = ["--launcher", "sglang", "--client", CLIENT, MODEL]
    done = cluster.run("head", AGENTS.words(*words, slurm=SLURM), env=ENV)
    assert done.returncode == 0, done.stderr
    address = cluster.state.host("node01").ip
    assert f"READY http://{address}:30000\n" in done.stdout
    assert '[node01:client] {"text": "hello world"' in done.stdout
    assert "[node02:sglang] follows rank 0" in done.stdout


def test_peers_are_addresses(cluster: Cluster) -> None:
    ips = [cluster.state.host(name).ip for name in ("node01", "node02", "node03")]
    three = ["-N3", *SLURM[1:]]
    words = AGENTS.words("--launcher", "sglang-disagg", *SHOW, slurm=three)
    done = cluster.run("head", words, env=ENV)
    assert done.returncode == 0, done.stderr
    for rank in range(3):
        assert f"{rank}: {','.join(ips)} " in done.stdout
    done = cluster.run("head", AGENTS.words("--launcher", "vllm", *SHOW, slurm=three), env=ENV)
    assert done.returncode == 0, done.stderr
    for rank, address in enumerate(ips):
        assert f"{rank}:  {address}" in done.stdout
