"""DeepSpeed: exports, and with them tokens, stood on every node's command line."""

from __future__ import annotations

from support.here import planned


def test_the_agents_command_has_nothing_of_the_users() -> None:
    plan = planned(
        "--hosts", "n[1-2]", "--export", "TOKEN=s3cr3t", env={"WANDB_API_KEY": "s3cr3t-too"}
    )
    for node in plan["nodes"]:
        assert not any("s3cr3t" in word or "train.py" in word for word in node["command"])
