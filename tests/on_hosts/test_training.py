"""A real training over real hosts: PyTorch on the CPU, gloo between the nodes."""

from __future__ import annotations

import pytest

from support.cluster import Cluster, brought_up
from support.jobs import EXAMPLES


@pytest.mark.torch
def test_ddp_trains_over_two_hosts(cluster: Cluster) -> None:
    done = cluster.madrun("--hosts", "node[01-02]:1", EXAMPLES / "train_ddp.py", timeout=250)
    assert done.returncode == 0, done.stderr
    assert "on 2 ranks" in done.stdout


def test_jax_counts_the_processes_of_two_hosts(cluster: Cluster) -> None:
    done = cluster.madrun("--hosts", "node[01-02]:2", EXAMPLES / "jax_sum.py", timeout=250)
    assert done.returncode == 0, done.stderr
    for rank in range(4):
        assert f"process {rank} of 4: sum 6" in done.stdout


@pytest.mark.torch
def test_gloo_trains_where_hosts_call_themselves_127_0_1_1() -> None:
    """Debian's /etc/hosts: gloo would tell the others 127.0.1.1 as its own address."""
    with brought_up(2) as hosts:
        for name in hosts.hosts:
            others = [f"{each.ip} {each.name}\n" for each in hosts.state.hosts.values()]
            own = [line for line in others if not line.endswith(f" {name}\n")]
            path = hosts.share / f"hosts-of-{name}"
            path.write_text("".join(["127.0.0.1 localhost\n", f"127.0.1.1 {name}\n", *own]))
            hosts.run(name, ["mount", "--bind", path, "/etc/hosts"], check=True)
        done = hosts.madrun("--hosts", "node[01-02]:1", EXAMPLES / "train_ddp.py", timeout=250)
        assert done.returncode == 0, done.stderr
        assert "on 2 ranks" in done.stdout
