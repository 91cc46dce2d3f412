"""Hostfiles, counts and filters: what was named is there, or it is an error."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.here import planned, refused


def test_a_hostfile_that_was_named_has_to_be_there() -> None:
    """DeepSpeed #5221: with a mistyped hostfile it trained on one machine, silently."""
    assert "hostfile /typo: No such file or directory" in refused("--hostfile", "/typo")
    assert "/typo" in refused(env={"MADRUN_HOSTFILE": "/typo"})


@pytest.mark.parametrize(
    "line",
    ["n1 slots=4abc", "n1 slots=0", "n1 slots=", "-oProxyCommand=id slots=1", "n[1- slots=1",
     "n1; slots=1", "n1 slots=1 n2"],
)  # fmt: skip
def test_a_bad_line_is_named(tmp_path: Path, line: str) -> None:
    """DeepSpeed: 4abc slots, no slots, options for ssh as host names, ranges left to pdsh."""
    (tmp_path / "hosts").write_text(f"good slots=1\n{line}\n")
    assert "madrun: hosts:2: " in refused("-H", "hosts", cwd=tmp_path)


def test_a_range_is_as_many_hosts(tmp_path: Path) -> None:
    """DeepSpeed: ranges of hosts were left to pdsh."""
    (tmp_path / "hosts").write_text("n[1-4] slots=1\n")
    assert list(planned("-H", "hosts", cwd=tmp_path)["world"]) == ["n1", "n2", "n3", "n4"]


def test_a_host_may_name_its_devices(tmp_path: Path) -> None:
    """DeepSpeed #3624: "slots=2" could not say which devices, and include 2,3 was refused."""
    (tmp_path / "hosts").write_text("node1 devices=2,3\nnode2 slots=2\n")
    plan = planned("-H", "hosts", "-i", "node1:3@node2", cwd=tmp_path)
    assert plan["world"] == {"node1": [3], "node2": [0, 1]}


@pytest.mark.parametrize(
    ("option", "count", "said"),
    [
        ("--num_gpus", "5", "host node1 has 4 slots"),
        ("--num_nodes", "3", "only 2 hosts to choose from"),
        ("--num_gpus", "0", "must be a whole number of at least 1"),
        ("--num_nodes", "0", "must be a whole number of at least 1"),
        ("--num_gpus", "-1", "must be a whole number of at least 1"),
    ],
)
def test_a_count_that_cannot_be(option: str, count: str, said: str) -> None:
    """DeepSpeed: num_gpus above the slots, num_nodes above the hosts, and 0 were all accepted."""
    assert said in refused("--hosts", "node[1-2]:4", option, count)


def test_a_slot_that_is_not_there() -> None:
    """DeepSpeed #6530: the filter was checked against itself, so slot 9 of 4 was accepted."""
    said = refused("--hosts", "node[1-2]:4", "--include", "node1:9")
    assert "host node1 has no slot 9; its slots are 0-3" in said


def test_a_bare_host_means_all_its_slots() -> None:
    """DeepSpeed #6671, #8239: ``--include node1`` selected nothing, and then raised IndexError."""
    world = planned("--hosts", "node[1-2]:4", "--include", "node1")["world"]
    assert world == {"node1": [0, 1, 2, 3]}


def test_an_empty_selection_is_its_own_error() -> None:
    """DeepSpeed #6671, #8239."""
    said = refused("--hosts", "node[1-2]:4", "--exclude", "node1@node2")
    assert "leaves nothing to run on" in said


def test_one_remote_host_is_logged_in_to(tmp_path: Path) -> None:
    """DeepSpeed #977, DeepSpeed-MII #243: one remote host in the hostfile, and the job ran here."""
    (tmp_path / "hosts").write_text("192.0.2.7 slots=2\n")
    plan = planned("-H", "hosts", cwd=tmp_path)
    assert (plan["backend"], plan["world"]) == ("ssh", {"192.0.2.7": [0, 1]})
    assert "192.0.2.7 is another machine" in refused(
        "-H", "hosts", "--backend", "local", cwd=tmp_path
    )


def test_a_backend_that_was_named_is_taken() -> None:
    """DeepSpeed #977, DeepSpeed-MII #243."""
    assert planned("--hosts", "localhost:2", "--backend", "ssh")["backend"] == "ssh"
    assert planned("--hosts", "localhost:2")["backend"] == "local"


def test_an_ipv6_address_can_be_chosen() -> None:
    """DeepSpeed: a host named by its IPv6 address could not be filtered."""
    plan = planned("--hosts", "[fd00::1]:4,[fd00::2]:4", "-i", "[fd00::2]:1,2@[fd00::1]:0")
    assert plan["world"] == {"fd00::1": [0], "fd00::2": [1, 2]}


def test_a_host_with_a_user_can_be_chosen() -> None:
    """DeepSpeedExamples #575: ``user@host`` stood in hostfiles, and no filter could name it."""
    hosts = ["--hosts", "alice@node1:2,bob@node2:2,node3:2"]
    assert planned(*hosts, "-i", "alice@node1:1")["world"] == {"alice@node1": [1]}
    world = planned(*hosts, "-i", "alice@node1@node3:0")["world"]
    assert world == {"alice@node1": [0, 1], "node3": [0]}
