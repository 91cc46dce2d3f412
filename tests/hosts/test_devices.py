"""Devices, found in made-up /proc, /sys and /dev."""

from __future__ import annotations

from pathlib import Path

import pytest

from madrun.hosts.devices import (
    AMD,
    NONE,
    NVIDIA,
    Inventory,
    NodeFacts,
    inventory,
    node_facts,
    tokens,
)

BUSES = ("0000:07:00.0", "0000:0b:00.0", "0000:48:00.0")


def nvidia(
    root: Path, minors: tuple[int, ...] = (2, 0, 1), nodes: tuple[int, ...] = (0, 1, 2)
) -> None:
    """Three cards whose minor numbers are not in the order of their buses."""
    for bus, minor in zip(BUSES, minors, strict=True):
        folder = root / "proc/driver/nvidia/gpus" / bus
        folder.mkdir(parents=True)
        text = f"Model: \t\t NVIDIA H100\nIRQ:   \t\t 7\nDevice Minor: \t {minor}\n"
        (folder / "information").write_text(text)
    (root / "dev").mkdir(exist_ok=True)
    for minor in nodes:
        (root / f"dev/nvidia{minor}").touch()


def amd(root: Path, render: tuple[int, ...] = (128, 129)) -> None:
    """A CPU, then two cards, as the kernel lists them."""
    top = root / "sys/class/kfd/kfd/topology/nodes"
    for number, (simds, minor, location) in enumerate(
        [(0, 0, 0), (912, 128, 768), (912, 129, 9984)]
    ):
        (top / str(number)).mkdir(parents=True)
        text = f"simd_count {simds}\ndrm_render_minor {minor}\nlocation_id {location}\ndomain 0\n"
        (top / str(number) / "properties").write_text(text)
    (root / "dev/dri").mkdir(parents=True)
    for minor in render:
        (root / f"dev/dri/renderD{minor}").touch()


def test_none(tmp_path: Path) -> None:
    assert inventory(str(tmp_path)) == Inventory(NONE, ())


def test_nvidia_in_the_order_of_the_buses(tmp_path: Path) -> None:
    nvidia(tmp_path)
    assert inventory(str(tmp_path)) == Inventory(NVIDIA, BUSES)


def test_a_container_with_fewer_device_nodes(tmp_path: Path) -> None:
    nvidia(tmp_path, nodes=(1, 2))
    assert inventory(str(tmp_path)) == Inventory(NVIDIA, (BUSES[0], BUSES[2]))


def test_a_container_with_none_of_the_hosts_cards(tmp_path: Path) -> None:
    nvidia(tmp_path, nodes=())
    assert inventory(str(tmp_path)) == Inventory(NONE, ())


def test_a_card_that_does_not_tell_its_minor_counts(tmp_path: Path) -> None:
    nvidia(tmp_path)
    information = tmp_path / "proc/driver/nvidia/gpus" / BUSES[0] / "information"
    information.write_text("Model: x\n")
    assert inventory(str(tmp_path)).bus_ids == BUSES
    information.unlink()
    assert inventory(str(tmp_path)).bus_ids == BUSES


def test_amd_without_the_cpu(tmp_path: Path) -> None:
    amd(tmp_path)
    assert inventory(str(tmp_path)) == Inventory(AMD, ("0000:03:00.0", "0000:27:00.0"))


def test_an_amd_container_with_fewer_render_nodes(tmp_path: Path) -> None:
    amd(tmp_path, render=(129,))
    assert inventory(str(tmp_path)) == Inventory(AMD, ("0000:27:00.0",))


def test_amd_nodes_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    amd(tmp_path)
    top = tmp_path / "sys/class/kfd/kfd/topology/nodes"
    (top / "1").rename(top / "10")
    assert inventory(str(tmp_path)).bus_ids == ("0000:27:00.0", "0000:03:00.0")


def test_damaged_properties_are_no_device(tmp_path: Path) -> None:
    amd(tmp_path)
    path = tmp_path / "sys/class/kfd/kfd/topology/nodes/1/properties"
    path.write_text("simd_count\nx y z\nsimd_count many\n")
    assert inventory(str(tmp_path)).bus_ids == ("0000:27:00.0",)


def test_nvidia_before_amd(tmp_path: Path) -> None:
    nvidia(tmp_path)
    amd(tmp_path)
    assert inventory(str(tmp_path)).vendor == NVIDIA


@pytest.mark.parametrize(
    ("mask", "found"),
    [
        ("", ()),
        ("0", ("0",)),
        ("3,1", ("3", "1")),
        (" 3 , 1 ", ("3", "1")),
        ("GPU-8932f937,MIG-1", ("GPU-8932f937", "MIG-1")),
        ("0,-1,2", ("0",)),
        ("-1", ()),
        ("0,,2", ("0",)),
        ("NoDevFiles", ()),
        ("none", ()),
        ("void", ()),
    ],
)
def test_tokens(mask: str, found: tuple[str, ...]) -> None:
    assert tokens(mask) == found


CARDS = ("a", "b", "c", "d")


@pytest.mark.parametrize(
    ("vendor", "environ", "facts"),
    [
        (NVIDIA, {}, NodeFacts(NVIDIA, 4, None, None, 8)),
        (NVIDIA, {"CUDA_VISIBLE_DEVICES": "3,1"}, NodeFacts(NVIDIA, 2, ("3", "1"), None, 8)),
        (NVIDIA, {"CUDA_VISIBLE_DEVICES": ""}, NodeFacts(NVIDIA, 0, (), None, 8)),
        (NVIDIA, {"HIP_VISIBLE_DEVICES": "0"}, NodeFacts(NVIDIA, 4, None, None, 8)),
        (AMD, {}, NodeFacts(AMD, 4, None, None, 8)),
        (AMD, {"HIP_VISIBLE_DEVICES": "3,1"}, NodeFacts(AMD, 2, ("3", "1"), None, 8)),
        (AMD, {"CUDA_VISIBLE_DEVICES": "2"}, NodeFacts(AMD, 1, ("2",), None, 8)),
        (AMD, {"HIP_VISIBLE_DEVICES": "3", "CUDA_VISIBLE_DEVICES": "0"},
         NodeFacts(AMD, 1, ("3",), None, 8)),
        (AMD, {"ROCR_VISIBLE_DEVICES": "2,3"}, NodeFacts(AMD, 2, None, "2,3", 8)),
        (AMD, {"ROCR_VISIBLE_DEVICES": "1,2,3", "HIP_VISIBLE_DEVICES": "2,0"},
         NodeFacts(AMD, 2, ("2", "0"), "1,2,3", 8)),
        (NVIDIA, {"ROCR_VISIBLE_DEVICES": "0"}, NodeFacts(NVIDIA, 4, None, None, 8)),
        (NONE, {}, NodeFacts(NONE, 4, None, None, 8)),
    ],
)  # fmt: skip
def test_node_facts(vendor: str, environ: dict[str, str], facts: NodeFacts) -> None:
    assert node_facts(Inventory(vendor, CARDS), environ, 8) == facts


@pytest.mark.parametrize("name", ["HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES"])
def test_an_empty_mask_hides_all_of_amds_too(name: str) -> None:
    assert node_facts(Inventory(AMD, CARDS), {name: ""}, 8).devices == 0
