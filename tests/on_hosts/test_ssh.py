"""Logging in as the user's ssh would: ssh_config, ports, keys, jump hosts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.cluster import Cluster
from support.jobs import EXAMPLES
from support.programs import PATIENCE


@contextmanager
def ssh_config(cluster: Cluster, text: str) -> Iterator[None]:
    """A ~/.ssh/config for a while (one ~/.ssh for all hosts of the testbed)."""
    path = cluster.base / "ssh" / "config"
    path.write_text(text)
    try:
        yield
    finally:
        path.unlink()


@contextmanager
def sshd_on(cluster: Cluster, host: str, *options: str) -> Iterator[None]:
    """A second sshd on a host, with options of its own."""
    config = cluster.base / "hosts" / host / "sshd_config"
    words = [word for option in options for word in ("-o", option)]
    daemon = cluster.popen(host, ["/usr/sbin/sshd", "-D", "-e", "-f", config, *words])
    assert daemon.stderr is not None
    for line in daemon.stderr:
        if "Server listening" in line:
            break
    try:
        yield
    finally:
        cluster.signal(daemon, 15)
        daemon.communicate(timeout=PATIENCE)


def hostnames(cluster: Cluster, *args: str | Path) -> list[str]:
    """Run `hostname` by madrun; what was printed."""
    done = cluster.madrun(*args, "--no-prefix", "--no-python", "hostname")
    assert done.returncode == 0, done.stderr
    return sorted(done.stdout.split())


def test_aliases_users_and_ports_of_ssh_config(cluster: Cluster) -> None:
    config = "Host fast-*\n  User root\n  Port 2222\nHost fast-one\n  HostName node01\n"
    known = cluster.base / "ssh" / "known_hosts"
    before = known.read_text()
    key = next(line for line in before.splitlines() if line.startswith("node01,")).split()[1:]
    known.write_text(before + f"[node01]:2222 {' '.join(key)}\n")
    with ssh_config(cluster, config), sshd_on(cluster, "node01", "Port=2222", "PidFile=none"):
        assert hostnames(cluster, "--hosts", "fast-one,node02") == ["node01", "node02"]
    known.write_text(before)


def test_a_port_in_the_hostfile_and_on_the_command_line(cluster: Cluster) -> None:
    hostfile = cluster.share / "hosts-with-port"
    hostfile.write_text("root@node01 port=2222 slots=1\n")
    known = cluster.base / "ssh" / "known_hosts"
    before = known.read_text()
    with sshd_on(cluster, "node01", "Port=2222", "PidFile=none"):
        assert hostnames(cluster, "-H", hostfile, "--ssh-accept-new") == ["node01"]
        assert hostnames(cluster, "--hosts", "node01", "--ssh_port", "2222") == ["node01"]
    known.write_text(before)


def test_only_the_given_key_is_offered(cluster: Cluster) -> None:
    keys = cluster.base / "ssh"
    (keys / "id_ed25519").rename(keys / "other-key")
    try:
        done = cluster.madrun("--hosts", "node01", "--no-python", "true")
        assert done.returncode == 125
        assert "authentication refused for user root: no key to offer" in done.stderr
        assert hostnames(cluster, "--hosts", "node01", "--ssh-key", keys / "other-key") == [
            "node01"
        ]
        with ssh_config(cluster, f"Host node*\n  IdentityFile {keys / 'other-key'}\n"):
            assert hostnames(cluster, "--hosts", "node01") == ["node01"]
    finally:
        (keys / "other-key").rename(keys / "id_ed25519")


@pytest.mark.parametrize(
    "config",
    [
        "Host node02 node03\n  ProxyJump node01\n",
        "Host node02 node03\n  ProxyCommand ssh -W %h:%p node01\n",
    ],
    ids=["ProxyJump", "ProxyCommand"],
)
def test_hosts_behind_a_jump_host_that_cannot_reach_us(breakable: Cluster, config: str) -> None:
    """The control channel comes back through the login."""
    for host in ("node02", "node03"):
        breakable.partition("head", host)
    with ssh_config(breakable, config):
        done = breakable.madrun("--hosts", "node02:2,node03:2", EXAMPLES / "ring.py")
        assert done.returncode == 0, done.stderr
        assert "ring of 4 ranks: sum 6" in done.stdout
        done = breakable.madrun("--hosts", "node02,node03", "--no-python", "false")
    assert done.returncode == 1
    assert "failed first: exited with status 1" in done.stderr


def test_what_a_login_shell_prints_does_no_harm(cluster: Cluster) -> None:
    with cluster.login_shell("echo welcome to $(hostname); printf 'no line end'; echo >&2 warn\n"):
        assert hostnames(cluster, "--hosts", "node01,node02") == ["node01", "node02"]


def test_more_hosts_than_the_fan_out(cluster: Cluster) -> None:
    hosts = "node[01-04]"
    assert len(hostnames(cluster, "--hosts", hosts, "--fan-out", "1")) == 4


def test_nothing_of_the_user_is_on_a_command_line(cluster: Cluster) -> None:
    from support.jobs import WORKER, Running

    job = Running(
        cluster,
        [
            "--hosts",
            "node01,node02",
            "--export",
            "TOKEN=s3cr3t-value",
            WORKER,
            "hold",
            "s3cr3t-arg",
        ],
    )
    job.up(2)
    seen = [
        each.cmdline
        for each in cluster.processes()
        if "s3cr3t-value" in each.cmdline
        or ("s3cr3t-arg" in each.cmdline and str(WORKER) not in each.argv)
    ]
    own = [each for each in seen if "bin/madrun" in each]
    job.signal(15)
    assert job.wait() == 143
    # What the user typed himself, on the head, is the only place.
    assert seen == own


def test_included_files_and_a_config_that_is_wrong(cluster: Cluster) -> None:
    included = cluster.base / "ssh" / "more"
    included.write_text("Host fast\n  HostName node01\n")
    with ssh_config(cluster, "Include more\nHost slow\n  HostName node02\n"):
        assert hostnames(cluster, "--hosts", "fast,slow") == ["node01", "node02"]
    with ssh_config(cluster, "Host node01\n  Port abc\n"):
        done = cluster.madrun("--hosts", "node01", "--backend", "ssh", "--no-python", "true")
    included.unlink()
    assert done.returncode == 125
    assert "node01  ssh_config: /root/.ssh/config line 2: Bad port 'abc'" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_proxy_command_that_is_not_there(cluster: Cluster) -> None:
    with ssh_config(cluster, "Host node02\n  ProxyCommand /none %h\n"):
        done = cluster.madrun("--hosts", "node02", "--backend", "ssh", "--no-python", "true")
    assert done.returncode == 125
    assert "node02  ProxyCommand '/none node02' exited with status 127: " in done.stderr


def test_several_jump_hosts_in_a_row(breakable: Cluster) -> None:
    """As ssh does it: the way leads through each of them, and one login serves all behind it."""
    for host in ("node03", "node04"):
        breakable.partition("head", host)
        breakable.partition("node01", host)
    with ssh_config(breakable, "Host node03 node04\n  ProxyJump node01,node02\n"):
        assert hostnames(breakable, "--hosts", "node03,node04") == ["node03", "node04"]
    with ssh_config(
        breakable, "Host node03 node04\n  ProxyJump node02\nHost node02\n  ProxyJump node01\n"
    ):
        assert hostnames(breakable, "--hosts", "node03,node04") == ["node03", "node04"]


def test_jump_hosts_in_a_circle_are_an_error(cluster: Cluster) -> None:
    config = "Host node01\n  ProxyJump node02\nHost node02\n  ProxyJump node01\n"
    with ssh_config(cluster, config):
        done = cluster.madrun("--hosts", "node01,node02", "--no-python", "true")
    assert done.returncode == 125
    assert "node01  ssh_config: more than 16 jump hosts to node01: a loop?" in done.stderr
