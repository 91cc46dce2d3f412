"""Networks that lose packets: a launch takes longer, and that is all."""

from __future__ import annotations

import pytest

from support.cluster import Cluster


@pytest.mark.timeout(600)
def test_a_launch_over_a_network_that_loses_every_fifth_packet(breakable: Cluster) -> None:
    for host in breakable.hosts:
        breakable.delay(host, "300ms", loss=20)
    limits = ["--launch-timeout", "300", "--connect-timeout", "100", "--heartbeat-timeout", "60"]
    hosts = ["--hosts", "node[01-04]", "--no-prefix"]
    done = breakable.madrun(*hosts, *limits, "--no-python", "hostname", timeout=500)
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.split()) == breakable.hosts
