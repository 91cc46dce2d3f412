"""DeepSpeed #5278: ValueError for GPU- and MIG- names in the mask."""

from __future__ import annotations

from support.here import shown

MASK = "GPU-8932f937-d72c,MIG-GPU-b8ea3855/0/0"


def test_a_device_may_be_named_by_its_uuid() -> None:
    words = ["--device-binding", "worker", "--no-python", "sh", "-c", "echo $CUDA_VISIBLE_DEVICES"]
    assert shown(*words, env={"CUDA_VISIBLE_DEVICES": MASK}) == MASK.split(",")
