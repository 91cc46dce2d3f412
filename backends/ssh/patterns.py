"""OpenSSH's patterns, as in ssh_config(5): ``*``, ``?``, and lists with ``!``."""

from __future__ import annotations

import re
from functools import lru_cache


def matches(name: str, pattern: str) -> bool:
    """Whether a name matches a pattern; nothing but ``*`` and ``?`` is special.

    >>> matches("node01", "node*"), matches("node01", "node0[1]"), matches("a.b", "a?b")
    (True, False, True)
    """
    return _compiled(pattern).fullmatch(name) is not None


def list_matches(name: str, patterns: str) -> bool:
    """Whether a name matches a list: one of its patterns, and none of those after a ``!``.

    >>> list_matches("Node01", "node*,!node02"), list_matches("node02", "node*,!node02")
    (True, False)
    """
    name, found = name.lower(), False
    for pattern in patterns.lower().split(","):
        if matches(name, pattern.removeprefix("!")):
            if pattern.startswith("!"):
                return False
            found = True
    return found


@lru_cache(maxsize=1024)
def _compiled(pattern: str) -> re.Pattern[str]:
    # Runs of stars are one star: a pattern of many must not take exponential time.
    parts = re.split(r"(\*+|\?)", pattern)
    words = {"?": "."}
    text = "".join(
        ".*?" if part.startswith("*") else words.get(part, re.escape(part)) for part in parts
    )
    return re.compile(text, re.DOTALL)
