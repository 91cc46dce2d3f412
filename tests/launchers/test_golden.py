"""Every launcher's plan on 1, 2, 3, 5 and 7 nodes, compared with files that somebody has read.

MADRUN_GOLDEN=write writes them anew; look at the difference before you keep it.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from madrun.hosts.devices import NVIDIA, NodeFacts
from madrun.hosts.world import Node, World
from madrun.launchers.launcher import NodeContext
from madrun.launchers.plan import Peer
from madrun.launchers.registry import built_in, find
from madrun.system.errors import InputError
from madrun.wire.jobspec import JobSpec

GOLDEN = Path(__file__).parent / "golden"
WRITES = os.environ.get("MADRUN_GOLDEN") == "write"
SIZES = (1, 2, 3, 5, 7)
LAUNCHERS = (*(each.name for each in built_in()), "vllm-mp", "vllm-dp", "vllm-replicas")
OPTIONS = {
    "primus": {"config_path": "exp.yaml"},
    "vllm-mp": {"mode": "mp"},
    "vllm-dp": {"mode": "dp"},
    "vllm-replicas": {"mode": "replicas"},
}


def spec_of(launcher: str, nodes: int) -> JobSpec:
    world = World(tuple(Node(f"h{rank}", (0, 1)) for rank in range(nodes)))
    name = "vllm" if launcher.startswith("vllm") else launcher
    argv = ("org/Model", "--dtype", "half") if find(name).serves else ("train.py", "two words")
    return JobSpec(
        job_id="j1",
        world=world,
        argv=argv,
        launcher=name,
        python="/venv/bin/python",
        workdir="/work dir",
        env={"MAD_X": "a$(echo pwned)b"},
        options=OPTIONS.get(launcher, {}),
    )


def planned(spec: JobSpec) -> list[Any]:
    """All node plans as JSON has them; each node got the ports that it wished for."""
    nodes = range(len(spec.world.nodes))
    launcher = find(spec.launcher)
    try:
        held = [tuple(wish.number for wish in launcher.ports(spec, rank)) for rank in nodes]
        peers = tuple(Peer(f"10.0.0.{rank}", held[rank]) for rank in nodes)
        facts = NodeFacts(NVIDIA, 8, cores=64)
        known = peers if launcher.serves else ()
        plans = [
            launcher.plan(NodeContext(spec, rank, "10.0.0.0", 29511, facts, known))
            for rank in nodes
        ]
    except InputError as error:
        return [f"refused: {error}"]
    return [shown(each) for each in plans]


def shown(value: Any) -> Any:
    """A plan as plain data; what is empty is left out."""
    if hasattr(value, "_asdict"):
        return {name: shown(each) for name, each in value._asdict().items() if each not in ("", ())}
    if isinstance(value, tuple):
        return [shown(each) for each in value]
    return value


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_plan(launcher: str) -> None:
    plans = {f"{nodes} nodes": planned(spec_of(launcher, nodes)) for nodes in SIZES}
    path = GOLDEN / f"{launcher}.json"
    if WRITES:
        path.write_text(json.dumps(plans, indent=1) + "\n", encoding="utf-8")
    assert plans == json.loads(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("launcher", "roles", "engine"),
    [
        *[(name, {"vllm"}, "vllm 0.33.0") for name in LAUNCHERS if name.startswith("vllm")],
        ("sglang", {"sglang"}, "sglang 0.5.23"),
        ("sglang-disagg", {"prefill", "decode"}, "sglang 0.5.23"),
    ],
)
def test_options_are_those_of_the_engine(launcher: str, roles: set[str], engine: str) -> None:
    """engine_options.json has the names that stand in the engines' own sources.

    The engines themselves cannot be installed without GPUs.
    """
    known = set(json.loads((GOLDEN.parent / "engine_options.json").read_text())[engine])
    plans = [plan for nodes in SIZES[2:] for plan in planned(spec_of(launcher, nodes))]
    argvs = [each["argv"] for plan in plans for each in plan["processes"] if each["role"] in roles]
    used = {word for argv in argvs for word in argv if word.startswith("--")}
    assert len(used) >= 3
    assert used - known == set()
