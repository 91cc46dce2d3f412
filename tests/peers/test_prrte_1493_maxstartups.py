"""prrte #1493, xcat #7494: sshd drops logins in a burst; they have to be paced, and tried again."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.cluster import Cluster

OPTIONS = ("Port=2223", "PidFile=none", "MaxStartups=1:100:1")
CONFIG = "Host one two three\n  HostName node01\n  Port 2223\n"
HOSTS = ("--hosts", "one,two,three", "--ssh-accept-new")


@pytest.fixture
def narrow(cluster: Cluster) -> Iterator[Cluster]:
    """The host node01 under three names, with an sshd that takes one login at a time."""
    config, known = cluster.base / "ssh" / "config", cluster.base / "ssh" / "known_hosts"
    before = known.read_text()
    words = [word for option in OPTIONS for word in ("-o", option)]
    settings = cluster.base / "hosts" / "node01" / "sshd_config"
    daemon = cluster.popen("node01", ["/usr/sbin/sshd", "-D", "-e", "-f", settings, *words])
    assert daemon.stderr is not None
    assert any("Server listening" in line for line in daemon.stderr)
    config.write_text(CONFIG)
    yield cluster
    config.unlink()
    known.write_text(before)
    cluster.signal(daemon, 15)
    daemon.communicate(timeout=30)


def test_logins_are_paced(narrow: Cluster) -> None:
    done = narrow.madrun(*HOSTS, "--fan-out", "1", "--no-python", "hostname")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[1::2] == ["node01"] * 3


def test_a_login_that_was_dropped_is_tried_again(narrow: Cluster) -> None:
    done = narrow.madrun(*HOSTS, "--no-python", "hostname")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[1::2] == ["node01"] * 3
