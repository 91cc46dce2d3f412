"""The job spec, and whose output is shown."""

from __future__ import annotations

import pytest

from madrun.hosts.world import Node, World
from madrun.system.errors import InputError
from madrun.wire.jobspec import JobSpec, shown_ranks

SPEC = JobSpec("j", World((Node("a", (0,)),)), ("x",))


@pytest.mark.parametrize(
    ("output", "ranks"),
    [
        ("all", {0, 1, 2, 3}),
        ("first", {0}),
        ("none", set()),
        ("2", {2}),
        ("0,3", {0, 3}),
        ("1-3", {1, 2, 3}),
        ("3-3", {3}),
        ("2,0-1,1", {0, 1, 2}),
    ],
)
def test_shown_ranks(output: str, ranks: set[int]) -> None:
    assert shown_ranks(output, 4) == ranks


@pytest.mark.parametrize(
    "output",
    ["", "All", "x", ",", "0,", "-1", "1-", "3-1", "0-1-2", "4", "0-4", "99999999999", "1 2",
     "0x1", "0-99999999999", "9" * 5000],
)  # fmt: skip
def test_what_names_no_ranks_of_the_job(output: str) -> None:
    with pytest.raises(InputError, match="--output"):
        shown_ranks(output, 4)


def test_a_spec_is_a_value() -> None:
    with pytest.raises(AttributeError):
        SPEC.output = "none"  # type: ignore[misc]
    assert SPEC._replace(output="none") != SPEC
