"""Every error leads to its exit status."""

from __future__ import annotations

import pytest

from madrun.system import errors
from madrun.system.errors import MadrunError


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("MadrunError", 125),
        ("InputError", 2),
        ("WireError", 125),
        ("ClusterError", 125),
        ("ProgramNotExecutable", 126),
        ("ProgramNotFound", 127),
    ],
)
def test_exit_status(name: str, status: int) -> None:
    kind = getattr(errors, name)
    assert issubclass(kind, MadrunError)
    assert kind.exit_status == status
    assert str(kind("what, where, why")) == "what, where, why"


def test_wrong_values_are_value_errors_too() -> None:
    assert issubclass(errors.InputError, ValueError)
    assert issubclass(errors.WireError, ValueError)


def test_the_table_in_the_docstring_is_complete() -> None:
    kinds = [each for each in vars(errors).values() if isinstance(each, type)]
    documented = errors.__doc__ or ""
    assert all(kind.__name__ in documented for kind in kinds if issubclass(kind, MadrunError))
