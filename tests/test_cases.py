"""The conformance cases of tests/cases/resources.json, each by its area's function."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import pytest

from madrun.agent.cores import share
from madrun.agent.standalone.by_hand import place_in
from madrun.hosts import devices, filters, world_info
from madrun.hosts.core_list import parse_core_list
from madrun.hosts.devices import CUDA_MASK, NodeFacts
from madrun.hosts.hostfile import Host, parse_hostfile
from madrun.hosts.resources import Resources, resolve
from madrun.hosts.world import Node, World
from madrun.launchers import native
from madrun.launchers.launcher import NodeContext
from madrun.options.request import Selection, value_of
from madrun.runner import cli as madrun_cli
from madrun.runner import dry_run, env_file, exports
from madrun.runner.plan import make_plan
from madrun.system.errors import InputError
from madrun.wire.jobspec import JobSpec
from support.requests import request_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

CASES: list[dict[str, Any]] = json.loads(
    (Path(__file__).parent / "cases" / "resources.json").read_text(encoding="utf-8")
)

# What we expect instead of the case, and why.
DEVIATIONS: dict[str, dict[str, Any]] = {
    # Slots index into a mask that is there, so under the mask "0,2" they are 0 and 1; the case
    # gives the mask's tokens. What the workers see is the same.
    "local/visible_devices_subset": {"active": [["localhost", [0, 1]]], "worker_visible": "0,2"},
}


def hosts_of(pool: Iterable[tuple[str, int]]) -> tuple[Host, ...]:
    return tuple(Host(name, tuple(range(slots))) for name, slots in pool)


def active(nodes: Iterable[Node]) -> list[list[object]]:
    return [[node.host, list(node.devices)] for node in nodes]


def refused(expect: dict[str, Any], action: Callable[[], object]) -> None:
    """The action is refused in one line that names what the case names."""
    with pytest.raises(InputError) as caught:
        action()
    message = str(caught.value)
    assert caught.value.exit_status == 2
    assert "\n" not in message
    for key, value in expect["error"].items():
        if key == "line":
            assert f"hosts.txt:{value}: " in message
        elif key != "kind":
            assert re.search(rf"(?<!\w){re.escape(str(value))}(?!\d)", message), message


def check_hostfile(given: dict[str, Any], expect: dict[str, Any]) -> None:
    if "error" in expect:
        return refused(expect, lambda: parse_hostfile(given["text"], "hosts.txt"))
    hosts = parse_hostfile(given["text"], "hosts.txt")
    assert [[host.name, len(host.devices)] for host in hosts] == expect["ok"]["pool"]
    by_name = {host.name: list(host.devices) for host in hosts}
    for name, numbers in expect["ok"].get("devices", {}).items():
        assert by_name[name] == numbers
    return None


def check_filter(given: dict[str, Any], expect: dict[str, Any]) -> None:
    hosts = hosts_of(given["pool"])
    if "error" in expect:
        return refused(expect, lambda: filters.apply(hosts, given["include"], given["exclude"]))
    nodes = filters.apply(hosts, given["include"], given["exclude"])
    assert active(nodes) == expect["ok"]["active"]
    return None


def check_limits(given: dict[str, Any], expect: dict[str, Any], folder: Path) -> None:
    selection = Selection(nnodes=given.get("num_nodes"), nproc_per_node=given.get("num_gpus"))
    default = folder / "hostfile"
    if given["pool"] is not None:
        default.write_text("".join(f"{name} slots={slots}\n" for name, slots in given["pool"]))

    def act() -> Resources:
        return resolve(selection, {}, lambda: given.get("device_count", 0), str(default))

    if "error" in expect:
        return refused(expect, act)
    assert active(act().world.nodes) == expect["ok"]["active"]
    return None


def check_local(given: dict[str, Any], expect: dict[str, Any], folder: Path) -> None:
    missing = given["hostfile"] if given.get("explicit") else str(folder / "none")
    selection = Selection(
        hostfile=missing if given.get("explicit") else None,
        include=given.get("include", ""),
        exclude=given.get("exclude", ""),
    )
    mask = given.get("visible_devices")
    # Counting devices counts the tokens of a mask where there is one.
    count = given["device_count"] if mask is None else len(mask.split(","))

    def act() -> Resources:
        return resolve(selection, {}, lambda: count, missing)

    if "error" in expect:
        return refused(expect, act)
    resources = act()
    assert resources.local
    for key, value in expect["ok"].items():
        if key not in LOCAL:
            pytest.fail(f"nothing here checks {key} of a local case")
        LOCAL[key](given, resources, value)
    return None


def check_local_active(given: dict[str, Any], resources: Resources, value: object) -> None:
    assert active(resources.world.nodes) == value


def check_local_nproc(given: dict[str, Any], resources: Resources, value: object) -> None:
    assert resources.world.world_size == value


def check_world_info(given: dict[str, Any], expect: dict[str, Any]) -> None:
    if "encoded" in given:
        world = world_info.decode(given["encoded"])
        assert active(world.nodes) == expect["ok"]["active"]
        assert world_info.encode(world) == given["encoded"]
        return
    world = World(tuple(Node(host, tuple(devices)) for host, devices in given["active"]))
    # In a pattern, the dash of the case's set has to stand last.
    charset = expect["ok"]["charset"].replace("-=", "=-")
    assert re.fullmatch(f"[{charset}]+", world_info.encode(world))
    assert world_info.decode(world_info.encode(world)) == world


def check_env_file(given: dict[str, Any], expect: dict[str, Any], folder: Path) -> None:
    environ = {}
    for place in ("home", "cwd"):
        (folder / place).mkdir()
    for place, text in given["files"]:
        if place.startswith("abs:"):
            # The case's absolute path, below a folder of this test.
            path = folder / place.removeprefix("abs:/")
            path.parent.mkdir(parents=True)
        else:
            path = folder / place / ".deepspeed_env"
        path.write_text(text, encoding="utf-8")
    if "override" in given:
        environ["DS_ENV_FILE"] = str(folder / given["override"].lstrip("/"))
    found = env_file.load((), str(folder / "home"), str(folder / "cwd"), environ)
    assert found == expect["ok"]["env"]


def check_core_list(given: dict[str, Any], expect: dict[str, Any]) -> None:
    if "error" in expect:
        return refused(expect, lambda: parse_core_list(given["text"]))
    assert list(parse_core_list(given["text"])) == expect["ok"]["cores"]
    return None


def check_core_bind(given: dict[str, Any], expect: dict[str, Any]) -> None:
    refused(expect, lambda: share(given["cores"], given["local_size"], 0))


def check_export_select(given: dict[str, Any], expect: dict[str, Any]) -> None:
    chosen = exports.select(given["environ"], (), prefixes=given["prefixes"])
    assert sorted(chosen) == expect["ok"]["exported"]


def check_local_worker_visible(given: dict[str, Any], resources: Resources, value: str) -> None:
    environ = {CUDA_MASK: given["visible_devices"]} if "visible_devices" in given else {}
    found = devices.Inventory("nvidia", tuple(f"bus{n}" for n in range(given["device_count"])))
    facts = devices.node_facts(found, environ, 0)
    assert facts.devices == resources.world.world_size
    spec = JobSpec("job", resources.world, ("train.py",))
    for process in native.plan(NodeContext(spec, facts=facts)).processes:
        assert process.env[CUDA_MASK] == value


def check_local_master_addr(given: dict[str, Any], resources: Resources, value: str) -> None:
    plan = make_plan(request_of("train.py", nproc_per_node=given["device_count"]), {}, "/", "py")
    assert dry_run.as_object(plan)["master"]["addr"] == value


def check_ranks(given: dict[str, Any], expect: dict[str, Any]) -> None:
    world = World(tuple(Node(host, tuple(slots)) for host, slots in given["active"]))
    spec = JobSpec("job", world, ("train.py",))
    found = [
        {
            "host": plan.host,
            "node_rank": int(process.env["NODE_RANK"]),
            "rank": int(process.env["RANK"]),
            "local_rank": int(process.env["LOCAL_RANK"]),
            "device": int(process.device),
            "visible": process.env["CUDA_VISIBLE_DEVICES"],
            "world_size": int(process.env["WORLD_SIZE"]),
            "local_size": int(process.env["LOCAL_SIZE"]),
            "nodes": int(process.env["NNODES"]),
        }
        for node_rank in range(len(world.nodes))
        for plan in [native.plan(NodeContext(spec, node_rank))]
        for process in plan.processes
    ]
    assert found == expect["ok"]["workers"]


def check_worker_env(given: dict[str, Any], expect: dict[str, Any]) -> None:
    world = World(tuple(Node(host, tuple(slots)) for host, slots in given["active"]))
    plan = native.plan(NodeContext(JobSpec("job", world, ("x",)), facts=NodeFacts("nvidia", 8)))
    visible = {process.env["CUDA_VISIBLE_DEVICES"] for process in plan.processes}
    assert visible == {expect["ok"]["visible_for_each"]}


def check_launch(given: dict[str, Any], expect: dict[str, Any], folder: Path) -> None:
    hostfile = folder / "hosts.txt"
    hostfile.write_text(given.get("hostfile_text", "h0 slots=1\n"))

    def act() -> dict[str, Any]:
        words = ["--hostfile", str(hostfile), "--exclude", given.get("exclude", "")]
        words += ["--backend", given.get("backend", "auto"), "--dry-run"]
        words += [f"--{flag}" for flag in ("module", "no_python") if given.get(flag)]
        if "no_ssh" in given:
            world = resolve(Selection(hostfile=str(hostfile)), {}, lambda: 0).world
            place_in(world, given["node_rank"], "head")
        request = madrun_cli.parsed([*words, "x"])
        return dry_run.as_object(make_plan(request, {}, "/", "py"))

    if "error" in expect:
        with pytest.raises(InputError) as caught:
            act()
        assert caught.value.exit_status == 2
        return
    found = act()
    wanted = dict(expect["ok"])
    mode = wanted.pop("mode", None)
    assert (mode == "remote") <= (found["backend"] == "ssh")
    assert [*found["world"]] == wanted.pop("hosts", [*found["world"]])
    assert {key: found[key] for key in wanted} == wanted


def check_cli(given: dict[str, Any], expect: dict[str, Any]) -> None:
    argv = given["argv"]
    if "error" in expect:
        with pytest.raises(click.UsageError) as caught:
            madrun_cli.parsed(argv)
        assert caught.value.exit_code == expect["error"]["exit"]
        return
    request = madrun_cli.parsed(argv)
    for name, value in expect["ok"]["runner"].items():
        assert value_of(request, {"num_gpus": "nproc_per_node"}[name]) == value
    if "script" in expect["ok"]:
        assert list(request.program.argv) == [expect["ok"]["script"], *expect["ok"]["script_args"]]


LOCAL: dict[str, Callable[[dict[str, Any], Resources, Any], None]] = {
    "active": check_local_active,
    "nproc": check_local_nproc,
    "worker_visible": check_local_worker_visible,
    "master_addr": check_local_master_addr,
}

AREAS: dict[str, Callable[..., None]] = {
    "hostfile": check_hostfile,
    "filter": check_filter,
    "limits": check_limits,
    "local": check_local,
    "world_info": check_world_info,
    "env_file": check_env_file,
    "core_list": check_core_list,
    "core_bind": check_core_bind,
    "export_select": check_export_select,
    "ranks": check_ranks,
    "worker_env": check_worker_env,
    "launch": check_launch,
    "cli": check_cli,
}

# Areas whose cases need files.
WITH_FOLDER = frozenset({"limits", "local", "env_file", "launch"})


@pytest.mark.parametrize("case", CASES, ids=[f"{case['area']}/{case['name']}" for case in CASES])
def test_case(case: dict[str, Any], tmp_path: Path) -> None:
    area = case["area"]
    if area not in AREAS:
        pytest.fail(f"nothing here checks the area {area}")
    expect = case["expect"]
    deviation = DEVIATIONS.get(f"{area}/{case['name']}")
    if deviation is not None:
        expect = {"ok": deviation}
    AREAS[area](case["input"], expect, *([tmp_path] if area in WITH_FOLDER else []))


def test_every_area_has_a_check() -> None:
    assert {case["area"] for case in CASES} == set(AREAS)


def test_every_deviation_has_a_case() -> None:
    assert set(DEVIATIONS) <= {f"{case['area']}/{case['name']}" for case in CASES}
