"""01-ai/Yi #69, Firefly #30, Megatron-DeepSpeed #178: --local_rank=N was forced on scripts."""

from __future__ import annotations

from support.here import planned


def test_nothing_is_added_to_the_arguments() -> None:
    worker = planned("--hosts", "a:2")["nodes"][0]["processes"][1]
    assert worker["argv"][-1] == "train.py"


def test_unless_it_is_asked_for() -> None:
    worker = planned("--hosts", "a:2", "--local-rank-arg")["nodes"][0]["processes"][1]
    assert worker["argv"][-2:] == ["train.py", "--local_rank=1"]
