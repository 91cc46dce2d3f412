"""accelerate #514, peft #110: HOME and PWD went to every node, and PYTHONPATH was replaced."""

from __future__ import annotations

from support.here import planned

OURS = {"HOME": "/ours", "PWD": "/ours", "SSH_AUTH_SOCK": "/ours", "DISPLAY": ":7",
        "LS_COLORS": "x", "XDG_RUNTIME_DIR": "/ours", "SLURM_PROCID": "3"}  # fmt: skip


def test_what_belongs_to_this_login_stays_here() -> None:
    plan = planned("--hosts", "node1,node2", "--export-all", env={**OURS, "PYTHONPATH": "/a:/b"})
    env = plan["nodes"][0]["processes"][0]["env"]
    assert not OURS.keys() & env.keys()
    assert env["PYTHONPATH"] == "/a:/b"
