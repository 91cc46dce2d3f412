"""Which devices this node has and shows us; found without importing any framework."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import NamedTuple

from madrun.system.errors import ProgramError
from madrun.system.programs import find_program

NVIDIA, AMD, NONE = "nvidia", "amd", ""
CUDA_MASK, HIP_MASK, ROCR_MASK = (
    "CUDA_VISIBLE_DEVICES",
    "HIP_VISIBLE_DEVICES",
    "ROCR_VISIBLE_DEVICES",
)
# Every variable that hides devices: all but the one we set are removed for the workers.
MASKS = (CUDA_MASK, HIP_MASK, ROCR_MASK, "GPU_DEVICE_ORDINAL", "ZE_AFFINITY_MASK")
THREADS = "OMP_NUM_THREADS"
_NVIDIA_SMI_LIMIT = 20.0  # seconds: a driver that has lost a GPU can hang


class NodeFacts(NamedTuple):
    """What a launcher has to know of the node itself; the defaults serve a dry run.

    ``devices`` is how many devices the node shows us, ``mask`` the tokens of a visible-devices
    variable that was already there (None: no mask), in its order. ``rocr`` is the mask of AMD's
    lower layer, which stays in force: what it leaves is called 0..k-1, and HIP's mask counts that.
    ``cores`` is how many CPU cores the node may use (0: not known), ``has_threads`` whether its own
    environment says how many threads a worker has.
    """

    vendor: str = NONE
    devices: int = 0
    mask: tuple[str, ...] | None = None
    rocr: str | None = None
    cores: int = 0
    has_threads: bool = False


class Inventory(NamedTuple):
    """The node's devices before any mask: their vendor and their PCI addresses, by index."""

    vendor: str
    bus_ids: tuple[str, ...]


def inventory(root: str = "/") -> Inventory:
    """What the kernel's drivers list; NVIDIA first, then AMD, then nothing."""
    nvidia = _nvidia(root)
    if nvidia:
        return Inventory(NVIDIA, nvidia)
    amd = _amd(root)
    return Inventory(AMD, amd) if amd else Inventory(NONE, ())


def own_facts() -> NodeFacts:
    """This node's devices as the environment of this process shows them."""
    return node_facts(inventory(), os.environ, len(os.sched_getaffinity(0)))


def node_facts(found: Inventory, environ: Mapping[str, str], cores: int) -> NodeFacts:
    """The devices that a mask in the environment leaves, with the mask's own order and names.

    A mask is an ordered list of opaque tokens (numbers, UUIDs, MIG ids). HIP reads its own mask,
    else CUDA's, and counts what ROCR's leaves.
    """
    names = (HIP_MASK, CUDA_MASK) if found.vendor == AMD else (CUDA_MASK,)
    rocr = environ.get(ROCR_MASK) if found.vendor == AMD else None
    left = len(found.bus_ids) if rocr is None else len(tokens(rocr))
    for name in names:
        if name in environ:
            mask = tokens(environ[name])
            return NodeFacts(found.vendor, len(mask), mask, rocr, cores, THREADS in environ)
    return NodeFacts(
        found.vendor, left, None if left or rocr is None else (), rocr, cores, THREADS in environ
    )


def tokens(mask: str) -> tuple[str, ...]:
    """The tokens of a mask, in order; like CUDA, nothing counts after an invalid one.

    >>> tokens("3, 1"), tokens("0,-1,2"), tokens("NoDevFiles")
    (('3', '1'), ('0',), ())
    """
    found: list[str] = []
    for token in mask.split(","):
        token = token.strip()
        if not token or token.startswith("-") or token in ("NoDevFiles", "none", "void"):
            break
        found.append(token)
    return tuple(found)


def _nvidia(root: str) -> tuple[str, ...]:
    folder = os.path.join(root, "proc/driver/nvidia/gpus")
    try:
        bus_ids = sorted(os.listdir(folder))
    except OSError:
        return _ask_nvidia_smi() if root == "/" else ()
    # A container sees the host's /proc but only the device nodes it was given.
    return tuple(
        bus for bus in bus_ids if os.path.exists(_device_node(root, os.path.join(folder, bus)))
    )


def _device_node(root: str, folder: str) -> str:
    try:
        with open(os.path.join(folder, "information"), encoding="ascii", errors="replace") as file:
            lines = file.read().splitlines()
    except OSError:
        return folder
    for line in lines:
        name, _, value = line.partition(":")
        if name.strip() == "Device Minor":
            return os.path.join(root, f"dev/nvidia{value.strip()}")
    return folder


def _ask_nvidia_smi() -> tuple[str, ...]:
    """For drivers without /proc/driver/nvidia (WSL, some virtual machines)."""
    try:
        program = find_program("nvidia-smi", os.environ, "/")
    except ProgramError:
        return ()
    import subprocess

    command = [program, "--query-gpu=pci.bus_id", "--format=csv,noheader"]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_NVIDIA_SMI_LIMIT,
            text=True,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ()
    if done.returncode:
        return ()
    return tuple(line.strip().lower() for line in done.stdout.splitlines() if ":" in line)


def _amd(root: str) -> tuple[str, ...]:
    top = os.path.join(root, "sys/class/kfd/kfd/topology/nodes")
    try:
        nodes = sorted((name for name in os.listdir(top) if name.isdecimal()), key=int)
    except OSError:
        return ()
    found = [_kfd_properties(os.path.join(top, node, "properties")) for node in nodes]
    return tuple(
        _pci_address(values)
        for values in found
        # A CPU has no SIMD units; a GPU of another container has no render node here.
        if values.get("simd_count", 0) > 0
        and os.path.exists(os.path.join(root, f"dev/dri/renderD{values.get('drm_render_minor')}"))
    )


def _kfd_properties(path: str) -> dict[str, int]:
    try:
        with open(path, encoding="ascii") as file:
            pairs = [line.split() for line in file]
    except OSError:
        return {}  # not ours to read: another container's device
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdecimal()}


def _pci_address(values: Mapping[str, int]) -> str:
    location = values.get("location_id", 0)
    domain, bus, slot = values.get("domain", 0), location >> 8 & 0xFF, location >> 3 & 0x1F
    return f"{domain:04x}:{bus:02x}:{slot:02x}.{location & 7}"
