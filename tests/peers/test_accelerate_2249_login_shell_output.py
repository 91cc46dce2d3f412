"""accelerate #2249: what a login shell printed became the master address."""

from __future__ import annotations

from support.cluster import Cluster


def test_what_a_login_shell_prints_is_nobodys_address(cluster: Cluster) -> None:
    show = ("--no-prefix", "--no-python", "sh", "-c", "echo $MASTER_ADDR")
    with cluster.login_shell("echo /root/custom.bashrc; printf 10.9.8.7\n"):
        done = cluster.madrun("--hosts", "node01,node02", *show)
    assert done.returncode == 0, done.stderr
    quiet = cluster.madrun("--hosts", "node01,node02", *show)
    assert done.stdout == quiet.stdout
