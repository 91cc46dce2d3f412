"""DeepSpeed #1331, #7155, #5818: a scheduler's mask was refused, or renumbered from 0."""

from __future__ import annotations

from support.here import shown


def test_slots_count_the_entries_of_the_mask() -> None:
    words = ["-i", "localhost:1,3", "--no-python", "sh", "-c", "echo $CUDA_VISIBLE_DEVICES"]
    assert shown(*words, env={"CUDA_VISIBLE_DEVICES": "4,5,6,7"}) == ["5,7", "5,7"]
