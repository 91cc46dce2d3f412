"""DeepSpeed #1712: CUDA_VISIBLE_DEVICES=3,1 became 1,3; people order devices on purpose."""

from __future__ import annotations

from support.here import shown


def test_the_order_of_a_mask_is_kept() -> None:
    words = ["--no-python", "sh", "-c", "echo $LOCAL_RANK $CUDA_VISIBLE_DEVICES"]
    assert shown(*words, env={"CUDA_VISIBLE_DEVICES": "3,1"}) == ["0 3,1", "1 3,1"]
