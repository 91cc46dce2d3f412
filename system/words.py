"""Words that every message of madrun forms in the same way."""

from __future__ import annotations


def counted(number: int, noun: str) -> str:
    """A number of things.

    >>> counted(1, "host"), counted(2, "worker")
    ('1 host', '2 workers')
    """
    return f"{number} {noun}{'' if number == 1 else 's'}"
