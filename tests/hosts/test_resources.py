from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from madrun.hosts.resources import Resources, resolve
from madrun.options.request import Selection
from madrun.system.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path


def never_counted() -> int:
    raise AssertionError("devices of this machine were counted for a job on others")


@pytest.fixture
def hostfile(tmp_path: Path) -> str:
    path = tmp_path / "hosts"
    path.write_text("a slots=4\nb devices=3,1,0 port=2222\nbob@c slots=2\n")
    return str(path)


def active(resources: Resources) -> dict[str, tuple[int, ...]]:
    return {node.host: node.devices for node in resources.world.nodes}


def test_a_named_hostfile(hostfile: str) -> None:
    found = resolve(Selection(hostfile=hostfile), {"MADRUN_HOSTFILE": "/typo"}, never_counted)
    assert active(found) == {"a": (0, 1, 2, 3), "b": (3, 1, 0), "bob@c": (0, 1)}
    assert [host.name for host in found.hosts] == ["a", "b", "bob@c"]
    assert found.hosts[1].port == 2222
    assert (found.source, found.local, found.cpu_only) == (f"hostfile {hostfile}", False, False)


def test_inline_hosts() -> None:
    found = resolve(Selection(hosts="n[1-2]:2"), {"MADRUN_HOSTFILE": "/typo"}, never_counted)
    assert active(found) == {"n1": (0, 1), "n2": (0, 1)}
    assert found.source == "--hosts"


def test_the_hostfile_of_the_environment(hostfile: str) -> None:
    found = resolve(Selection(), {"MADRUN_HOSTFILE": hostfile}, never_counted, "/typo")
    assert found.source == f"$MADRUN_HOSTFILE {hostfile}"
    assert not found.local


def test_the_default_hostfile(hostfile: str) -> None:
    found = resolve(Selection(), {}, never_counted, hostfile)
    assert found.source == f"hostfile {hostfile}"


def test_hosts_and_hostfile_exclude_each_other(hostfile: str) -> None:
    with pytest.raises(InputError, match="together"):
        resolve(Selection(hosts="a", hostfile=hostfile), {}, never_counted)


@pytest.mark.parametrize("hostfile_option", [True, False])
def test_a_named_hostfile_that_is_missing_is_never_replaced(hostfile_option: bool) -> None:
    selection = Selection(hostfile="/typo/hosts") if hostfile_option else Selection()
    environ = {} if hostfile_option else {"MADRUN_HOSTFILE": "/typo/hosts"}
    with pytest.raises(InputError, match="hostfile /typo/hosts: No such file") as caught:
        resolve(selection, environ, never_counted)
    assert ("$MADRUN_HOSTFILE: " in str(caught.value)) is not hostfile_option


def test_an_empty_option_is_not_an_absent_one() -> None:
    with pytest.raises(InputError):
        resolve(Selection(hostfile=""), {}, never_counted)
    with pytest.raises(InputError):
        resolve(Selection(hosts=""), {}, never_counted)


def test_a_default_hostfile_that_is_there_but_unusable_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "broken").symlink_to(tmp_path / "gone")
    for name in ("", "broken"):
        with pytest.raises(InputError, match=f"hostfile {tmp_path}"):
            resolve(Selection(), {}, never_counted, str(tmp_path / name))


@pytest.mark.parametrize(
    ("selection", "world"),
    [
        (Selection(nnodes=2), {"a": (0, 1, 2, 3), "b": (3, 1, 0)}),
        (Selection(nproc_per_node=2), {"a": (0, 1), "b": (3, 1), "bob@c": (0, 1)}),
        (Selection(nnodes=1, nproc_per_node=1), {"a": (0,)}),
        (Selection(exclude="a", nnodes=1), {"b": (3, 1, 0)}),
        (Selection(include="a:2,3@b", nproc_per_node=1), {"a": (2,), "b": (3,)}),
        (Selection(include="bob@c:1"), {"bob@c": (1,)}),
    ],
)
def test_filters_then_counts(
    hostfile: str, selection: Selection, world: dict[str, tuple[int, ...]]
) -> None:
    found = resolve(selection, {}, never_counted, hostfile)
    assert active(found) == world
    assert tuple(host.name for host in found.hosts) == found.world.hosts


@pytest.mark.parametrize(
    ("selection", "reason"),
    [
        (
            Selection(nnodes=7),
            r"--nnodes 7: only 3 hosts to choose from \(hostfile .*\): a,b,bob@c",
        ),
        (Selection(nnodes=2, exclude="a@b"), r"--nnodes 2: only 1 host to choose from \("),
        (Selection(nproc_per_node=3), r"--nproc-per-node 3: host bob@c has 2 slots \(hostfile"),
        (Selection(nproc_per_node=2, include="a:1"), "host a has 1 slot "),
        (Selection(nnodes=0), "--nnodes 0: must be"),
        (Selection(nnodes=-1), "--nnodes -1: must be"),
        (Selection(nproc_per_node=0), "--nproc-per-node 0: must be"),
        (Selection(nproc_per_node=10**9), "--nproc-per-node 1000000000: must be"),
        (Selection(include="x"), "there is no host 'x'"),
        (Selection(exclude="a@b@bob@c"), "leaves nothing to run on"),
    ],
)
def test_refusals(hostfile: str, selection: Selection, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        resolve(selection, {}, never_counted, hostfile)


@pytest.mark.parametrize(
    ("selection", "count", "devices", "cpu_only"),
    [
        (Selection(), 4, (0, 1, 2, 3), False),
        (Selection(nproc_per_node=2), 4, (0, 1), False),
        (Selection(include="localhost:1,3"), 4, (1, 3), False),
        (Selection(), 0, (0,), True),
        (Selection(nproc_per_node=3), 0, (0, 1, 2), True),
        (Selection(nnodes=1), 1, (0,), False),
    ],
)
def test_this_machine(
    selection: Selection, count: int, devices: tuple[int, ...], cpu_only: bool
) -> None:
    found = resolve(selection, {"MADRUN_HOSTFILE": ""}, lambda: count, "/none/hostfile")
    assert active(found) == {"localhost": devices}
    assert (found.source, found.local, found.cpu_only) == ("this machine", True, cpu_only)


def test_this_machine_has_no_more_than_it_has() -> None:
    with pytest.raises(InputError, match="--nproc-per-node 3: host localhost has 2 slots"):
        resolve(Selection(nproc_per_node=3), {}, lambda: 2, "/none/hostfile")
    with pytest.raises(
        InputError, match=r"--nnodes 2: only 1 host to choose from \(this machine\)"
    ):
        resolve(Selection(nnodes=2), {}, lambda: 2, "/none/hostfile")
