"""How lines look: a rank's prefix and its colour, and which of a worker's escapes are passed on.

A worker writes for a terminal of its own. Between the lines of others, what moves the cursor,
clears the screen or sets the title would spoil those; colours are kept, and end with their line.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

AUTO, ALWAYS, NEVER = "auto", "always", "never"
RESET = b"\x1b[0m"
_COLORS = (36, 33, 32, 35, 34, 96, 93, 92, 95, 94)  # of hosts in their order; red is for errors
_WIDEST = 40  # characters of a prefix that others are aligned with

# ECMA-48: CSI, then OSC and other strings, then short escapes; C1 in UTF-8, and C0 but for the tab.
_CONTROL = re.compile(
    rb"\x1b\[[0-?]*[ -/]*[@-~]?"
    rb"|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?"
    rb"|\x1b[PX^_][^\x1b]*(?:\x1b\\)?"
    rb"|\x1b[ -/]*[0-~]?"
    rb"|\xc2[\x80-\x9f]"
    rb"|[\x00-\x08\x0b-\x1f\x7f]"
)
_SGR = re.compile(rb"\x1b\[[0-9;:]*m")
_SGR_RESET = re.compile(rb"\x1b\[(?:[0-9;:]*;)?0*m")


class Look(NamedTuple):
    """What the user asked for: ``[host:rank]`` before each line, and when there are colours."""

    prefix: bool = True
    color: str = AUTO


def is_colored(look: Look, fd: int) -> bool:
    """Whether a stream of ours has colours."""
    if look.color != AUTO:
        return look.color == ALWAYS
    return is_terminal(fd) and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def prefixes(look: Look, fd: int, hosts: Sequence[str], names: Sequence[object]) -> list[bytes]:
    """What stands before the lines of each rank; aligned, and coloured by host, on a terminal.

    >>> prefixes(Look(color=ALWAYS), -1, ["a", "b"], [9, 10])
    [b'\\x1b[36m[a:9]\\x1b[0m ', b'\\x1b[33m[b:10]\\x1b[0m ']
    """
    if not look.prefix:
        return [b""] * len(hosts)
    texts = [f"[{host}:{name}]" for host, name in zip(hosts, names, strict=True)]
    fitting = [len(text) for text in texts if len(text) <= _WIDEST]
    width = max(fitting, default=0) if is_terminal(fd) else 0
    if not is_colored(look, fd):
        return [f"{text:<{width}} ".encode() for text in texts]
    numbers = {host: index for index, host in enumerate(dict.fromkeys(hosts))}
    colors = [_COLORS[numbers[host] % len(_COLORS)] for host in hosts]
    return [
        b"\x1b[%dm%b%b%b " % (color, text.encode(), RESET, b" " * (width - len(text)))
        for color, text in zip(colors, texts, strict=True)
    ]


def passed_on(look: Look) -> Callable[[bytes], bytes]:
    """What is shown of a worker's line: all of it where lines have no prefix."""
    if not look.prefix:
        return bytes
    return without_controls if look.color == NEVER else without_moves


def without_moves(line: bytes) -> bytes:
    r"""The line with its colours and without other controls; a colour ends with the line.

    >>> without_moves(b"\x1b[2J\x1b[31mred\x07"), without_moves(b"\x1b[1mbold\x1b[0m")
    (b'\x1b[31mred\x1b[0m', b'\x1b[1mbold\x1b[0m')
    """
    if _CONTROL.search(line) is None:
        return line
    line = _CONTROL.sub(lambda found: found[0] if _SGR.fullmatch(found[0]) else b"", line)
    last = [*_SGR.finditer(line)][-1:]
    return line + RESET if last and not _SGR_RESET.fullmatch(last[0][0]) else line


def without_controls(line: bytes) -> bytes:
    """The line without colours as well."""
    return _CONTROL.sub(b"", line)


def is_terminal(fd: int) -> bool:
    """Whether a descriptor is one; a closed one is not."""
    try:
        return os.isatty(fd)
    except OSError:
        return False
