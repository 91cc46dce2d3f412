"""pytorch #140318: two masks at once hide every AMD device, or name the wrong ones."""

from __future__ import annotations

from madrun.agent.devices import Inventory, node_facts
from madrun.launchers.environment import device_environment
from madrun.launchers.plan import AMD
from support.here import shown

SHOW = "echo ${CUDA_VISIBLE_DEVICES-no}/${HIP_VISIBLE_DEVICES-no}/${GPU_DEVICE_ORDINAL-no}"


def test_one_variable_is_set_and_the_others_are_removed() -> None:
    masks = {"CUDA_VISIBLE_DEVICES": "1", "HIP_VISIBLE_DEVICES": "0", "GPU_DEVICE_ORDINAL": "2"}
    assert shown("--hosts", "localhost", "--no-python", "sh", "-c", SHOW, env=masks) == ["1/no/no"]


def test_on_amd_the_lower_mask_stays_and_the_upper_one_counts_it() -> None:
    masks = {"ROCR_VISIBLE_DEVICES": "4,5", "HIP_VISIBLE_DEVICES": "1"}
    facts = node_facts(Inventory(AMD, ("bus",) * 8), masks, 1)
    assert facts.devices == 1
    assert device_environment((0,), 0, "node", facts) == masks
