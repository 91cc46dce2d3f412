"""DeepSpeed's grammar for a list of CPU cores: ``0,2-4,6``."""

from __future__ import annotations

import re

from madrun.system.errors import InputError

MAX_CORES = 65536

_RANGE = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?")


def parse_core_list(text: str) -> tuple[int, ...]:
    """The cores of a list in DeepSpeed's form; raises InputError unless they ascend.

    >>> parse_core_list("0,2-4,6")
    (0, 2, 3, 4, 6)
    """
    if len(text) > MAX_CORES * 6:
        raise InputError("core list: too long")
    cores: list[int] = []
    for item in text.split(","):
        found = _RANGE.fullmatch(item.strip())
        if found is None:
            raise InputError(
                f"core list: {item[:60]!r} is neither a core nor a range; it reads like 0,2-4,6"
            )
        low, high = int(found[1]), int(found[2] or found[1])
        if high >= MAX_CORES:
            raise InputError(f"core list: core {high} is not below {MAX_CORES}")
        if high < low or (cores and low <= cores[-1]):
            raise InputError(f"core list: {item.strip()!r} does not ascend; it reads like 0,2-4,6")
        cores += range(low, high + 1)
    return tuple(cores)
