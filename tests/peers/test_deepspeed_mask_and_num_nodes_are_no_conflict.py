"""DeepSpeed: a mask with --num_nodes 1 was a conflict with a filter that nobody had given."""

from __future__ import annotations

from support.here import shown


def test_a_mask_is_no_filter_of_the_users() -> None:
    words = ["--num_nodes", "1", "--no-python", "sh", "-c", "echo $CUDA_VISIBLE_DEVICES"]
    assert shown(*words, env={"CUDA_VISIBLE_DEVICES": "2,3"}) == ["2,3", "2,3"]
