"""ColossalAI #5213, #3066: "not a valid RSA private key" for keys of other kinds."""

from __future__ import annotations

import subprocess

import pytest

from support.cluster import Cluster


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa"])
def test_keys_of_any_kind(cluster: Cluster, kind: str) -> None:
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
