"""DeepSpeed #4370, #5318: settings for ssh that the user had were overwritten, or a KeyError."""

from __future__ import annotations

from support.cluster import Cluster

THERE = {"PDSH_SSH_ARGS_APPEND": "-p 1 -v", "PDSH_RCMD_TYPE": "rsh", "SSH_AUTH_SOCK": "/nowhere",
         "SSH_ASKPASS": "/nowhere", "SSH_CONNECTION": "::1 1 ::1 2"}  # fmt: skip


def test_they_do_no_harm(cluster: Cluster) -> None:
    done = cluster.madrun("--hosts", "node01", "--no-python", "echo", "ran", env=THERE)
    assert (done.returncode, done.stdout) == (0, "[node01:0] ran\n"), done.stderr
