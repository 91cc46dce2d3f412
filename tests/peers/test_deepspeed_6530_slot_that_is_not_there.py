"""DeepSpeed #6530: the filter was checked against itself, so slot 9 of 4 was accepted."""

from __future__ import annotations

from support.here import refused


def test_a_slot_that_is_not_there() -> None:
    said = refused("--hosts", "node[1-2]:4", "--include", "node1:9")
    assert "host node1 has no slot 9; its slots are 0-3" in said
