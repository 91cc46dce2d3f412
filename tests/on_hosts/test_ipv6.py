"""Hosts that have IPv6 addresses only."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.cluster import Cluster, brought_up
from support.jobs import EXAMPLES

PREFIX = "fd6d:6164::"  # unique local addresses (RFC 4193), inside the testbed only
ADDRESSES = {"head": f"{PREFIX}1", "node01": f"{PREFIX}11", "node02": f"{PREFIX}12"}
ONLY_IPV6 = """
echo 0 > /proc/sys/net/ipv6/conf/eth0/disable_ipv6
ip -4 address flush dev eth0
ip -6 address add {address}/64 dev eth0 nodad
"""


@pytest.fixture(scope="module")
def ipv6_hosts() -> Iterator[Cluster]:
    """A head and two nodes without IPv4."""
    with brought_up(2) as hosts:
        for name, address in ADDRESSES.items():
            words = ["sh", "-ec", ONLY_IPV6.format(address=address)]
            hosts.run(name, words, check=True)
        yield hosts


@pytest.mark.hosts
@pytest.mark.timeout(300)
def test_a_job_on_hosts_that_have_only_ipv6(ipv6_hosts: Cluster) -> None:
    hosts = ",".join(f"[{ADDRESSES[name]}]:2" for name in ("node01", "node02"))
    limits = ["--launch-timeout", "200", "--connect-timeout", "60"]
    done = ipv6_hosts.madrun(
        "--hosts", hosts, "--ssh-accept-new", *limits, EXAMPLES / "ring.py", timeout=250
    )
    assert done.returncode == 0, done.stderr
    assert "ring of 4 ranks: sum 6" in done.stdout
