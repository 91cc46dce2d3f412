"""Logins: keys, settings, bursts, and what a login shell prints."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from support.cluster import Cluster
from support.programs import PATIENCE


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa"])
def test_keys_of_any_kind(cluster: Cluster, kind: str) -> None:
    """ColossalAI #5213, #3066: "not a valid RSA private key" for keys of other kinds."""
    folder = cluster.base / "ssh"
    key, authorized = folder / f"modern-{kind}", folder / "authorized_keys"
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", key], check=True)
    before = authorized.read_text()
    authorized.write_text((folder / f"modern-{kind}.pub").read_text())
    try:
        done = cluster.madrun("--hosts", "node01", "--ssh-key", key, "--no-python", "echo", "ran")
    finally:
        authorized.write_text(before)
    assert (done.returncode, done.stdout) == (0, "[node01:0] ran\n"), done.stderr


def test_what_a_login_shell_prints_is_nobodys_address(cluster: Cluster) -> None:
    """accelerate #2249: what a login shell printed became the master address."""
    show = ("--no-prefix", "--no-python", "sh", "-c", "echo $MASTER_ADDR")
    with cluster.login_shell("echo /root/custom.bashrc; printf 10.9.8.7\n"):
        done = cluster.madrun("--hosts", "node01,node02", *show)
    assert done.returncode == 0, done.stderr
    quiet = cluster.madrun("--hosts", "node01,node02", *show)
    assert done.stdout == quiet.stdout


def test_no_shell_tool_is_needed_on_a_node(cluster: Cluster) -> None:
    """DeepSpeed #2612, #4649, #6497: ``hostname -I`` is not everywhere, and may answer nothing."""
    folder = cluster.share / "nearly-empty-path"
    folder.mkdir(exist_ok=True)
    if not (folder / "env").exists():
        (folder / "env").symlink_to("/usr/bin/env")
    with cluster.login_shell(f"PATH={folder}\n"):
        done = cluster.madrun(
            *("--hosts", "node01,node02", "--export", f"PATH={folder}", "--no-prefix"),
            *("--no-python", sys.executable, "-c", "print('ran')"),
        )
    assert (done.returncode, done.stdout) == (0, "ran\nran\n"), done.stderr


def test_more_hosts_than_logins_at_a_time(cluster: Cluster) -> None:
    """DeepSpeed #315: more nodes than the fan-out never started."""
    done = cluster.madrun("--hosts", "node[01-04]", "--fan-out", "2", "--no-python", "hostname")
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.split()[1::2]) == ["node01", "node02", "node03", "node04"]


THERE = {"PDSH_SSH_ARGS_APPEND": "-p 1 -v", "PDSH_RCMD_TYPE": "rsh", "SSH_AUTH_SOCK": "/nowhere",
         "SSH_ASKPASS": "/nowhere", "SSH_CONNECTION": "::1 1 ::1 2"}  # fmt: skip


def test_settings_for_ssh_that_are_there_do_no_harm(cluster: Cluster) -> None:
    """DeepSpeed #4370, #5318: settings for ssh of the user's were overwritten, or a KeyError."""
    done = cluster.madrun("--hosts", "node01", "--no-python", "echo", "ran", env=THERE)
    assert (done.returncode, done.stdout) == (0, "[node01:0] ran\n"), done.stderr


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
    daemon.communicate(timeout=PATIENCE)


def test_logins_are_paced(narrow: Cluster) -> None:
    """prrte #1493, xcat #7494: sshd drops logins in a burst; pace them, and try again."""
    done = narrow.madrun(*HOSTS, "--fan-out", "1", "--no-python", "hostname")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[1::2] == ["node01"] * 3


def test_a_login_that_was_dropped_is_tried_again(narrow: Cluster) -> None:
    """prrte #1493, xcat #7494."""
    done = narrow.madrun(*HOSTS, "--no-python", "hostname")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[1::2] == ["node01"] * 3
