"""Launchers by name."""

from __future__ import annotations

import pytest

from madrun.launchers import native
from madrun.launchers.registry import built_in, find
from madrun.system.errors import InputError


def test_by_name() -> None:
    assert find("native") is native.LAUNCHER
    assert [find(each.name) for each in built_in()] == [*built_in()]


@pytest.mark.parametrize("name", ["", "os", "madrun.launchers.native", "slurm", "per-node", "../x"])
def test_an_unknown_name_lists_the_known_ones(name: str) -> None:
    with pytest.raises(InputError, match=rf"Unknown launcher type '{name}'. Use one of: deepspeed"):
        find(name)
