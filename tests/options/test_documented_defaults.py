"""docs/options.md says of each option whose it is, and the default that its type has."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from madrun.options.request import Field, fields

PAGE = Path(__file__).resolve().parents[2] / "docs" / "options.md"
_ROW = re.compile(r"^\| (`-.*?) \| (both|madrun|madagent) \| (.*) \|$", re.MULTILINE)
ROWS = {
    name.replace("\\|", "|"): (of, meaning)
    for names, of, meaning in _ROW.findall(PAGE.read_text(encoding="utf-8"))
    for name in re.findall(r"`(-[-a-zA-Z0-9]*)`", names)
}


@pytest.mark.parametrize("field", fields().values(), ids=lambda field: field.option.key)
def test_a_row_is_true(field: Field) -> None:
    rows = [ROWS[name] for name in field.option.names.split()]
    assert {of for of, _ in rows} == {field.option.of}
    for _, meaning in rows:
        number = re.search(r"Default: ([0-9]+(?:\.[0-9]+)?)(?=[.,;]| |$)", meaning)
        if number and isinstance(field.default, int | float):
            assert float(number[1]) == field.default
        word = re.search(r"`([a-z0-9]+)` \(default\b", meaning)
        if word:
            assert word[1] == str(field.default)
