"""Devices and cores: a mask is an ordered list of opaque names, and slots index into it."""

from __future__ import annotations

import os
import sys

from madrun.hosts.devices import AMD, Inventory, node_facts
from madrun.launchers.environment import device_environment
from support.here import refused, shown


def test_slots_count_the_entries_of_the_mask() -> None:
    """DeepSpeed #1331, #7155, #5818: a scheduler's mask was refused, or renumbered from 0."""
    words = ["-i", "localhost:1,3", "--no-python", "sh", "-c", "echo $CUDA_VISIBLE_DEVICES"]
    assert shown(*words, env={"CUDA_VISIBLE_DEVICES": "4,5,6,7"}) == ["5,7", "5,7"]


def test_the_order_of_a_mask_is_kept() -> None:
    """DeepSpeed #1712: CUDA_VISIBLE_DEVICES=3,1 became 1,3; people order devices on purpose."""
    words = ["--no-python", "sh", "-c", "echo $LOCAL_RANK $CUDA_VISIBLE_DEVICES"]
    assert shown(*words, env={"CUDA_VISIBLE_DEVICES": "3,1"}) == ["0 3,1", "1 3,1"]


MASK = "GPU-8932f937-d72c,MIG-GPU-b8ea3855/0/0"


def test_a_device_may_be_named_by_its_uuid() -> None:
    """DeepSpeed #5278: ValueError for GPU- and MIG- names in the mask."""
    words = ["--device-binding", "worker", "--no-python", "sh", "-c", "echo $CUDA_VISIBLE_DEVICES"]
    assert shown(*words, env={"CUDA_VISIBLE_DEVICES": MASK}) == MASK.split(",")


def test_num_gpus_takes_the_first_of_those_we_were_given() -> None:
    """DeepSpeed #662, #2980: --num_gpus N took GPU 0 of somebody else; also accelerate #663."""
    words = ["--num_gpus", "2", "--no-python", "sh", "-c", "echo $CUDA_VISIBLE_DEVICES"]
    assert shown(*words, env={"CUDA_VISIBLE_DEVICES": "5,6,7"}) == ["5,6", "5,6"]


def test_num_gpus_takes_no_more_than_we_were_given() -> None:
    """DeepSpeed #662, #2980."""
    assert "host localhost has 3 slots" in refused(
        "--num_gpus", "4", env={"CUDA_VISIBLE_DEVICES": "5,6,7"}
    )


def test_a_mask_is_no_filter_of_the_users() -> None:
    """DeepSpeed: a mask with --num_nodes 1 was a conflict with a filter that nobody had given."""
    words = ["--num_nodes", "1", "--no-python", "sh", "-c", "echo $CUDA_VISIBLE_DEVICES"]
    assert shown(*words, env={"CUDA_VISIBLE_DEVICES": "2,3"}) == ["2,3", "2,3"]


SHOW = "echo ${CUDA_VISIBLE_DEVICES-no}/${HIP_VISIBLE_DEVICES-no}/${GPU_DEVICE_ORDINAL-no}"


def test_one_variable_is_set_and_the_others_are_removed() -> None:
    """pytorch #140318: two masks at once hide every AMD device, or name the wrong ones."""
    masks = {"CUDA_VISIBLE_DEVICES": "1", "HIP_VISIBLE_DEVICES": "0", "GPU_DEVICE_ORDINAL": "2"}
    assert shown("--hosts", "localhost", "--no-python", "sh", "-c", SHOW, env=masks) == ["1/no/no"]


def test_on_amd_the_lower_mask_stays_and_the_upper_one_counts_it() -> None:
    """pytorch #140318."""
    masks = {"ROCR_VISIBLE_DEVICES": "4,5", "HIP_VISIBLE_DEVICES": "1"}
    facts = node_facts(Inventory(AMD, ("bus",) * 8), masks, 1)
    assert facts.devices == 1
    assert device_environment((0,), 0, "node", facts) == masks


SHOW_CORES = """
import os
threads = os.listdir("/proc/self/task")
print({tuple(sorted(os.sched_getaffinity(int(thread)))) for thread in threads})
"""


def test_only_allowed_cores_are_shared() -> None:
    """DeepSpeed #6565, #8548: no numactl was a crash, and cores were counted from 0.

    The mask is set before the program starts: every thread of it has it (srt-slurm #326).
    """
    allowed = os.sched_getaffinity(0)
    last = max(allowed)
    os.sched_setaffinity(0, {last})
    try:
        words = ["--bind-cores-to-rank", "--no-python", sys.executable, "-c", SHOW_CORES]
        assert shown(*words, env={"PATH": "/nowhere"}) == [f"{{({last},)}}"]
    finally:
        os.sched_setaffinity(0, allowed)
