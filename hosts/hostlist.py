"""Host ranges: ``node[01-16,20]-ib`` as names, and names folded back for messages."""

from __future__ import annotations

import re
from itertools import product
from typing import TYPE_CHECKING

from madrun.system.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

MAX_HOSTS = 65536
# A few groups name any cluster; without a bound, a thousand groups make very long names very often.
MAX_GROUPS = 8
_MAX_FIXED_TEXT = 512

_GROUP = r"\[([^\[\]]*)\]"
_NUMBERS = r"([0-9]{1,15})(?:-([0-9]{1,15}))?"
_DIGITS = r"([0-9]+)"


def expand(text: str) -> tuple[str, ...]:
    """The names a text stands for, in its order, zero padding kept.

    Several groups multiply; brackets that hold a colon are an IPv6 address and stay.
    Raises InputError for a range that is empty, open, backwards, or larger than MAX_HOSTS.

    >>> expand("node[08-10,12]-ib")
    ('node08-ib', 'node09-ib', 'node10-ib', 'node12-ib')
    >>> expand("r[1-2]n[1-2]")
    ('r1n1', 'r1n2', 'r2n1', 'r2n2')
    >>> expand("[fd00::1]")
    ('[fd00::1]',)
    """
    fixed, groups = _pieces(text)
    if len(groups) > MAX_GROUPS:
        raise InputError(f"more than {MAX_GROUPS} bracket groups in one host name")
    if sum(map(len, fixed)) > _MAX_FIXED_TEXT:
        raise InputError("the host name is too long")
    choices: list[list[str]] = []
    total = 1
    for group in groups:
        choices.append(_processes(group))
        total *= len(choices[-1])
        if total > MAX_HOSTS:
            raise InputError(f"the range stands for more than {MAX_HOSTS} hosts")
    return tuple(_joined(fixed, numbers) for numbers in product(*choices))


def split(text: str, separators: str) -> list[str]:
    """Cuts a text at the separators that stand outside brackets.

    >>> split("node[01,03]:8,big:4", ",")
    ['node[01,03]:8', 'big:4']
    """
    pieces = [""]
    start = depth = 0
    for at, character in enumerate(text):
        if character in "[]":
            depth = max(0, depth + (1 if character == "[" else -1))
        elif depth == 0 and character in separators:
            pieces[-1] = text[start:at]
            pieces.append("")
            start = at + 1
    pieces[-1] = text[start:]
    return pieces


def fold(names: Iterable[str]) -> str:
    """The names in compact form for messages: sorted by number, each once.

    >>> fold(["node01", "node02", "node03", "node04", "node07", "big"])
    'node[01-04,07],big'
    """
    families: dict[tuple[str, ...], set[str]] = {}
    for name in names:
        parts = re.split(_DIGITS, name)
        # The digits of an IPv6 address are hexadecimal: they are not counted up.
        kept = (name,) if ":" in name else tuple(parts[::2])
        families.setdefault(kept, set()).add(name)
    return ",".join(_fold_family(family) for family in families.values())


def fold_numbers(numbers: Iterable[int]) -> str:
    """Numbers as ranges, sorted, each once.

    >>> fold_numbers([0, 1, 2, 3, 6])
    '0-3,6'
    """
    return _ranges([str(number) for number in sorted(set(numbers))])


def _pieces(text: str) -> tuple[list[str], list[str]]:
    """The text around the range groups, and the groups; one piece more than groups."""
    fixed, groups, end = [""], [], 0
    for found in re.finditer(_GROUP, text):
        before = text[end : found.start()]
        _refuse_brackets(before)
        end = found.end()
        if ":" in found[1]:
            fixed[-1] += before + found[0]
            continue
        fixed[-1] += before
        fixed.append("")
        groups.append(found[1])
    _refuse_brackets(text[end:])
    fixed[-1] += text[end:]
    return fixed, groups


def _refuse_brackets(text: str) -> None:
    if "[" in text or "]" in text:
        raise InputError("the brackets do not match; ranges read like node[01-16,20]")


def _processes(group: str) -> list[str]:
    process_table: list[str] = []
    for item in group.split(","):
        found = re.fullmatch(_NUMBERS, item)
        if found is None:
            raise InputError(f"{item[:40]!r} is not a range; ranges read like node[01-16,20]")
        low, high = found[1], found[2] or found[1]
        if int(high) < int(low):
            raise InputError(f"the range {item} runs backwards")
        if high.startswith("0") and len(high) != len(low):
            raise InputError(f"the ends of the range {item} are padded differently")
        if len(process_table) + int(high) - int(low) >= MAX_HOSTS:
            raise InputError(f"the range stands for more than {MAX_HOSTS} hosts")
        process_table += [str(n).zfill(len(low)) for n in range(int(low), int(high) + 1)]
    return process_table


def _joined(fixed: Sequence[str], numbers: Sequence[str]) -> str:
    parts = [fixed[0]]
    for number, text in zip(numbers, fixed[1:], strict=True):
        parts += (number, text)
    return "".join(parts)


def _fold_family(names: set[str]) -> str:
    """Names that differ in their numbers only: folded at the last number that differs."""
    rows = [re.split(_DIGITS, name) for name in names]
    differing = [at for at in range(len(rows[0])) if len({row[at] for row in rows}) > 1]
    if not differing:
        return next(iter(names))
    last = differing[-1]
    lines: dict[tuple[str, str], list[str]] = {}
    for row in sorted(rows, key=_by_number):
        key = "".join(row[:last]), "".join(row[last + 1 :])
        lines.setdefault(key, []).append(row[last])
    return ",".join(
        f"{before}[{_ranges(column)}]{after}" if len(column) > 1 else before + column[0] + after
        for (before, after), column in lines.items()
    )


def _by_number(row: Sequence[str]) -> list[tuple[int, str]]:
    # Ordered as text of equal length: int() refuses thousands of digits.
    return [(len(digits.lstrip("0")), digits.lstrip("0") + " " + digits) for digits in row[1::2]]


def _ranges(numbers: Sequence[str]) -> str:
    runs: list[list[str]] = []
    for number in numbers:
        if runs and len(number) < 16 and _next(runs[-1][-1]) == number:
            runs[-1][1:] = [number]
        else:
            runs.append([number])
    return ",".join("-".join(run) for run in runs)


def _next(number: str) -> str:
    return str(int(number) + 1).zfill(len(number)) if len(number) < 16 else ""
