"""docs/config.md names every key of every section, and none that is not there."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from madrun.runner.config.keys import ALIASES, SECTIONS

PAGE = Path(__file__).resolve().parent.parent / "docs" / "config.md"
_HEADING = re.compile(r"#+ (.*)")
_KEY = re.compile(r"`([^`]+)`")


def documented() -> dict[str, set[str]]:
    """The keys in the first column of the tables, by the heading above."""
    found: dict[str, set[str]] = {}
    heading = ""
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if title := _HEADING.fullmatch(line):
            heading = title[1]
        elif line.startswith("| `"):
            found.setdefault(heading, set()).update(_KEY.findall(line.split("|")[1]))
    return found


def schema(keys: Mapping[str, Any], path: str = "") -> dict[str, set[str]]:
    """The keys of each section by its path, the other spellings among them."""
    plain = {name for name, kind in keys.items() if path == "" or callable(kind)}
    aliases = {each for each, name in ALIASES.get(path, {}).items() if name in plain}
    found = {path or "At the top": plain | aliases}
    for name, kind in keys.items():
        if isinstance(kind, Mapping):
            found |= schema(kind, f"{path}.{name}" if path else name)
    return found


def test_every_key_is_documented() -> None:
    there = schema(SECTIONS)
    del there["context"]  # one section, which the first table explains
    assert documented() == there
