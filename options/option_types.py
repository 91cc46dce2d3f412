"""Kinds of values in a config file and in ``NAME=VALUE``: each is checked and becomes one text.

A kind is a function of the key's name, for the error, and of what was read. A number may be
written as text, "2"; ``true`` is no number. Every kind takes the text that it returned.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from madrun.system.errors import InputError

Kind = Callable[[str, object], str]

_WHOLE = re.compile(r"[0-9]{1,9}")
_FLAGS = {"true": "true", "false": "false", "1": "true", "0": "false"}
_SHOWN = 60  # characters of a wrong value


def count(name: str, value: object) -> str:
    """A whole number of at least 1.

    >>> count("nnodes", "2")
    '2'
    >>> count("nnodes", True)
    Traceback (most recent call last):
    madrun.system.errors.InputError: Invalid nnodes: true. Must be positive integer >= 1
    """
    number = _whole(value)
    if number is None or number < 1:
        raise InputError(f"Invalid {name}: {shown(value)}. Must be positive integer >= 1")
    return str(number)


def count_or(*allowed: str) -> Kind:
    """A whole number of at least 1, or one of these words.

    >>> count_or("gpu")("nproc_per_node", "GPU"), count_or("gpu")("nproc_per_node", 2)
    ('gpu', '2')
    """

    def counted(name: str, value: object) -> str:
        word = value.lower() if isinstance(value, str) else ""
        return word if word in allowed else count(name, value)

    return counted


def number(name: str, value: object) -> str:
    """A whole number of at least 0."""
    found = _whole(value)
    if found is None:
        raise InputError(f"Invalid {name}: {shown(value)}. Must be a whole number >= 0")
    return str(found)


def port(name: str, value: object) -> str:
    """A port that can be named."""
    found = _whole(value)
    if found is None or not 1 <= found <= 65535:
        raise InputError(f"{name} must be 1-65535, got {shown(value)}")
    return str(found)


def text(name: str, value: object) -> str:
    """Any text that a program can be given; a whole number counts as its digits."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**18:
        return str(value)
    if not isinstance(value, str):
        raise InputError(f"{name} must be a text, got {shown(value)}")
    if "\0" in value:
        raise InputError(f"{name} holds a NUL byte, which no program can be given")
    try:
        value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise InputError(f"{name} holds half a character, which no program can be given") from None
    return value


def line(name: str, value: object) -> str:
    """A text without line ends and other control characters."""
    found = text(name, value)
    if any(character < " " or character == "\x7f" for character in found):
        raise InputError(f"{name} must be one line, got {shown(found)}")
    return found


def flag(name: str, value: object) -> str:
    """``true`` or ``false``, also as text."""
    written = str(value).lower() if isinstance(value, str | int) else ""
    if written not in _FLAGS:
        raise InputError(f"{name} must be true or false, got {shown(value)}")
    return _FLAGS[written]


def words(name: str, value: object) -> str:
    """A list of texts, as JSON; a text is split into words as a shell would, or is JSON itself.

    >>> words("args", ["--a", "b c"]), words("args", "--a 'b c'")
    ('["--a", "b c"]', '["--a", "b c"]')
    """
    if isinstance(value, str):
        value = _split(name, value)
    if not isinstance(value, list):
        raise InputError(f"{name} must be a list of texts, got {shown(value)}")
    import json  # only where there is a list

    return json.dumps([text(f"{name}[{at}]", each) for at, each in enumerate(value)])


def choice(*allowed: str) -> Kind:
    """One of these words, in any case."""

    def chosen(name: str, value: object) -> str:
        found = value.lower() if isinstance(value, str) else ""
        if found not in allowed:
            raise InputError(f"{name} must be one of {', '.join(allowed)}; got {shown(value)}")
        return found

    return chosen


def shown(value: object) -> str:
    """What was read, short and as a config file has it; a list or section by its name only.

    >>> shown(True), shown("x"), shown({"a": 1}), shown(None)
    ('true', "'x'", 'a section', 'null')
    """
    if isinstance(value, dict):
        return "a section"
    if isinstance(value, list | tuple):
        return "a list"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int) and abs(value) >= 10**18:
        return "a huge number"  # thousands of digits are no help, and Python refuses to print them
    written = repr(value)
    return written if len(written) <= _SHOWN else written[: _SHOWN - 3] + "..."


def nearest(name: str, known: Iterable[str]) -> str:
    """The end of an error on an unknown name: the nearest known one, else all of them.

    >>> nearest("nproc", ["nnodes", "nproc_per_node"]), nearest("x", ["a", "b"])
    ("did you mean 'nproc_per_node'?", 'known are a, b')
    """
    import difflib  # only where there is a mistake

    names = sorted(known)
    plain = {each.lower().replace("-", "_"): each for each in names}
    word = name[:100].lower().replace("-", "_")
    close = difflib.get_close_matches(word, plain, n=1, cutoff=0.6)
    begin = [each for each in plain if word and each.startswith(word)]
    for each in (*close, *begin):
        return f"did you mean {plain[each]!r}?"
    return f"known are {', '.join(names)}" if names else "there are none"


def _whole(value: object) -> int | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return value if 0 <= value < 10**9 else None
    if isinstance(value, str) and _WHOLE.fullmatch(value.strip()):
        return int(value)
    return None


def _split(name: str, value: str) -> object:
    if value.startswith("["):
        try:
            import json

            return json.loads(value)
        except (ValueError, RecursionError):
            pass  # then it is words, one of which begins with a bracket
    import shlex

    try:
        return shlex.split(value)
    except ValueError as error:
        reason = str(error).lower()
        raise InputError(f"{name}: {shown(value)} is not a list of words: {reason}") from None
