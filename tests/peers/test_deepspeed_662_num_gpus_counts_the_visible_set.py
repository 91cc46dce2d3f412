"""DeepSpeed #662, #2980: --num_gpus N took GPU 0 of somebody else; also accelerate #663."""

from __future__ import annotations

from support.here import refused, shown


def test_num_gpus_takes_the_first_of_those_we_were_given() -> None:
    words = ["--num_gpus", "2", "--no-python", "sh", "-c", "echo $CUDA_VISIBLE_DEVICES"]
    assert shown(*words, env={"CUDA_VISIBLE_DEVICES": "5,6,7"}) == ["5,6", "5,6"]


def test_and_no_more_than_those() -> None:
    assert "host localhost has 3 slots" in refused(
        "--num_gpus", "4", env={"CUDA_VISIBLE_DEVICES": "5,6,7"}
    )
