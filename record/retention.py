"""How many records of jobs are kept, and which have to go."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from madrun.system.errors import InputError

_SIZE = r"(?i)([0-9]{1,9}(?:\.[0-9]+)?)\s*([KMGT]B)?"
_UNITS = {"KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


class Retention(NamedTuple):
    """How many records are kept, and how many bytes in all; None: without a limit."""

    jobs: int | None = 50
    size: int | None = 2 * 10**9


class Found(NamedTuple):
    """A record: since when (seconds since 1970), its bytes, and whether its job is over."""

    name: str
    begun: float
    size: int
    over: bool


def retention(text: str, name: str = "--keep-jobs") -> Retention:
    """What ``--keep-jobs`` says: a number of jobs, a size, or both, or nothing; raises InputError.

    >>> retention("20") == Retention(jobs=20), retention("all,1.5GB")
    (True, Retention(jobs=None, size=1500000000))
    """
    words = [word.strip() for word in text.lower().split(",")]
    kept = Retention(size=None) if words == ["all"] else Retention()
    for word in words if text else ():
        found = re.fullmatch(_SIZE, word)
        if word == "all":
            kept = kept._replace(jobs=None)
        elif (size := size_of(word)) is not None:
            kept = kept._replace(size=size)
        elif found is not None and found[1].isdecimal():
            kept = kept._replace(jobs=int(found[1]))
        else:
            raise InputError(f"{name}: {text[:60]!r}: 50, 500MB, 50,2GB and all are allowed")
    return kept


def size_of(text: str) -> int | None:
    """The bytes of a number with its unit; None for any other text.

    >>> size_of("1.5 GB"), size_of("500mb"), size_of("50")
    (1500000000, 500000000, None)
    """
    found = re.fullmatch(_SIZE, text)
    return int(float(found[1]) * _UNITS[found[2].upper()]) if found and found[2] else None


def surplus(found: Iterable[Found], kept: Retention) -> list[str]:
    """The records that have to go, the oldest first.

    >>> jobs = [Found("a", 1, 10, True), Found("b", 2, 10, False), Found("c", 3, 10, True)]
    >>> surplus(jobs, Retention(2, None)), surplus(jobs, Retention(None, 15))
    (['a'], ['a', 'c'])
    """
    jobs = sorted(found, key=lambda each: each.begun)
    count, size = len(jobs), sum(each.size for each in jobs)
    names = []
    for job in jobs:
        if count <= _limit(kept.jobs) and size <= _limit(kept.size):
            break
        if job.over:
            names.append(job.name)
            count, size = count - 1, size - job.size
    return names


def is_due(there: int, kept: Retention) -> bool:
    """Whether a quick job removes old records where so many are; a longer one always does.

    It does where there are too many by a fifth, and one time in ten for the sake of their size.

    >>> [count for count in range(45, 65) if is_due(count, Retention(50))]
    [50, 60, 61, 62, 63, 64]
    """
    return there % 10 == 0 or there > _limit(kept.jobs) * 1.2


def _limit(value: int | None) -> float:
    return float("inf") if value is None else value
