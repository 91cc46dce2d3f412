"""The table in README.md names tests that are there."""

from __future__ import annotations

import re
from pathlib import Path

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[1]


def test_what_the_table_names_is_there() -> None:
    for row in re.findall(r"^\|.*\|.*$", (FOLDER / "README.md").read_text(), re.MULTILINE)[2:]:
        standing = row.split("|")[2]
        names = re.findall(r"`((?:tests/)?[\w/]+\.py)`", standing)
        texts = [
            (ROOT / name if "/" in name else FOLDER / name).read_text(encoding="utf-8")
            for name in names
        ]
        for function in re.findall(r"`((?:test|victim)_\w+)`", standing):
            assert any(f"def {function}(" in text for text in texts), row
