"""DeepSpeed #5136, accelerate #2468: the first word of ``hostname -I`` was the wrong interface."""

from __future__ import annotations

import sys

from support.cluster import Cluster

SHOW = """
import ipaddress, os, socket
address = os.environ["MASTER_ADDR"]
assert not ipaddress.ip_address(socket.gethostbyname(address)).is_loopback
if os.environ["RANK"] == "0":
    socket.create_server((address, 0))  # it is an address of this node
print(address)
"""


def test_it_is_an_address_of_node_0_that_the_others_reach(cluster: Cluster) -> None:
    words = ("--hosts", "node02,node03", "--no-prefix", "--no-python", sys.executable, "-c", SHOW)
    done = cluster.madrun(*words)
    assert done.returncode == 0, done.stderr
    assert len(set(done.stdout.split())) == 1
    done = cluster.madrun("--master-addr", "node02", *words)
    assert done.stdout.split() == ["node02", "node02"]
