"""DeepSpeed #6671, #8239: ``--include node1`` selected nothing, and then raised IndexError."""

from __future__ import annotations

from support.here import planned, refused


def test_a_bare_host_means_all_its_slots() -> None:
    world = planned("--hosts", "node[1-2]:4", "--include", "node1")["world"]
    assert world == {"node1": [0, 1, 2, 3]}


def test_an_empty_selection_is_its_own_error() -> None:
    said = refused("--hosts", "node[1-2]:4", "--exclude", "node1@node2")
    assert "leaves nothing to run on" in said
