"""The agent's place, as a runner's command line gives it."""

from __future__ import annotations

import pytest

from madrun.agent.place import Place, parse_place, place_under_tool
from madrun.backends.base import AgentStart
from madrun.hosts import world_info
from madrun.hosts.hostfile import Host
from madrun.hosts.world import Node, World
from madrun.system.errors import InputError

WORLD = world_info.encode(World((Node("a", (0,)), Node("b", (1, 0)))))
KEY = "ab" * 32
GOOD = {
    "--runner": "10.0.0.1,fd00::1",
    "--ports": "4000,4001",
    "--runner-key": KEY,
    "--node-rank": "1",
    "--patience": "60",
    "--world-info": WORLD,
}
PLACE = Place(("10.0.0.1", "fd00::1"), (4000, 4001), KEY, 1, 60.0)


def argv_of(values: dict[str, str]) -> list[str]:
    return [word for pair in values.items() for word in pair]


def test_a_place() -> None:
    assert parse_place(argv_of(GOOD)) == PLACE


def test_large_world_info_comes_another_way() -> None:
    assert parse_place(argv_of(GOOD)[:-2]) == PLACE


def test_what_backends_write_is_what_agents_read() -> None:
    hosts = (Host("a", (0,)), Host("b", (1, 0)))
    launch = AgentStart(hosts, "/usr/bin/python3", True, (4000, 4001), KEY, WORLD, 60.0)
    command = launch.command(1, ["10.0.0.1", "fd00::1"])
    assert command[:4] == ["/usr/bin/python3", "-I", "-m", "madrun.agent"]
    assert parse_place(command[4:]) == PLACE


@pytest.mark.parametrize("name", [each for each in GOOD if each != "--world-info"])
def test_every_option_is_needed(name: str) -> None:
    with pytest.raises(InputError, match="not a command line of a madrun runner"):
        parse_place(argv_of({key: value for key, value in GOOD.items() if key != name}))


@pytest.mark.parametrize(
    ("name", "value"),
    [("--ports", "1"), ("--ports", "1,2,3"), ("--ports", "a,b"), ("--node-rank", "x"),
     ("--patience", ""), ("--world-info", "e30="), ("--world-info", "!")],
)  # fmt: skip
def test_what_is_wrong(name: str, value: str) -> None:
    with pytest.raises(InputError):
        parse_place(argv_of(GOOD | {name: value}))


@pytest.mark.parametrize(
    ("text", "node_rank", "host"),
    [("env:PMI_RANK", 3, ""), ("host:node07", -1, "node07"), ("2", 2, "")],
)
def test_a_place_under_a_tool(text: str, node_rank: int, host: str) -> None:
    environ = {"PMI_RANK": "3"}
    argv = argv_of({**GOOD, "--node-rank": text, "--tool": "mpich"})
    place = parse_place(argv, environ)
    assert (place.node_rank, place.host, place.tool) == (node_rank, host, "mpich")
    assert place_under_tool(argv, environ) == (node_rank, host)


def test_a_tool_that_does_not_say_the_rank() -> None:
    argv = argv_of({**GOOD, "--node-rank": "env:PMI_RANK", "--tool": "mpich"})
    with pytest.raises(InputError, match="the tool has not set PMI_RANK"):
        parse_place(argv, {})
    assert place_under_tool(argv, {}) is None
    assert place_under_tool(argv_of(GOOD), {}) is None, "no tool, no line"
