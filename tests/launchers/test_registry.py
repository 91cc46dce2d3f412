"""Launchers by name."""

from __future__ import annotations

import pytest

from madrun.launchers import native
from madrun.launchers.registry import planner
from madrun.system.errors import InputError


def test_by_name() -> None:
    assert planner("native") is native.plan


@pytest.mark.parametrize("name", ["", "Native", "os", "madrun.launchers.native", "slurm"])
def test_an_unknown_name_lists_the_known_ones(name: str) -> None:
    with pytest.raises(InputError, match=rf"unknown launcher {name!r}; known are native"):
        planner(name)
