"""The table in README.md names tests that are there."""

from __future__ import annotations

import ast
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


def test_every_complaint_says_whose_it_was() -> None:
    for path in FOLDER.glob("test_*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                docstring = ast.get_docstring(node) or ""
                asked = path.name != "test_the_table.py"
                assert not asked or re.match(r"[\w./-]+( PR)?( #\d+|:| read)", docstring), node.name
