"""The examples in docstrings are true."""

from __future__ import annotations

import doctest
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROOMS = [path.name for path in (ROOT / "src/madrun").iterdir() if path.is_symlink()]
MODULES = [
    "madrun." + ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for room in ROOMS
    for path in sorted((ROOT / room).rglob("*.py"))
    if path.stem not in ("__main__", "__init__")
]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    failed, _count = doctest.testmod(import_module(name))
    assert failed == 0


def test_there_are_examples_at_all() -> None:
    finder = doctest.DocTestFinder()
    modules = [import_module(name) for name in MODULES]
    assert sum(len(test.examples) for each in modules for test in finder.find(each)) > 30
