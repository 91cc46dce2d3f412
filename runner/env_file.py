"""Environment files: ``.madrun_env``, DeepSpeed's ``.deepspeed_env`` and ``--env-file``."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from madrun.runner import exports
from madrun.system.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

DEEPSPEED_FILE = ".deepspeed_env"
MADRUN_FILE = ".madrun_env"
OVERRIDE_VARIABLE = "DS_ENV_FILE"
MAX_BYTES = 2**20

_NAME = r"[A-Za-z_][A-Za-z0-9_]*"
_COMMENT = r"[ \t]#.*"
_ESCAPED = r'\\([\\"$`])'
# A quoted value ends at the first quote that no backslash hides; it may run over lines.
_DOUBLE = r'(?s)"([^"\\]*(?:\\.[^"\\]*)*)"'
_SINGLE = r"'([^']*)'"


def parse(text: str, source: str) -> dict[str, str]:
    """The variables of a file, NAME=value a line; the later of two wins.

    Blank lines and comments are skipped, ``export`` before a name too. A value in single quotes
    is kept as it is; in double quotes a backslash hides ``" \\ $`` and itself. Both may run over
    lines. Without quotes a value ends at the line's end or before `` #``. Nothing is expanded.

    >>> parse('export A = x=y  # note\\nB="q \\\\"r\\\\""', "env")
    {'A': 'x=y', 'B': 'q "r"'}
    >>> parse("no assignment", "env")
    Traceback (most recent call last):
    madrun.system.errors.InputError: env:1: there is no = in it; a line reads: NAME=value
    """
    text = text.removeprefix("\ufeff").replace("\r\n", "\n")
    variables: dict[str, str] = {}
    at, line = 0, 1
    while at < len(text):
        end = text.find("\n", at) + 1 or len(text) + 1
        content = text[at : end - 1].strip(" \t\r")
        if content and not content.startswith("#"):
            try:
                name, value, end = _assignment(text, at, end)
            except InputError as error:
                raise InputError(f"{source}:{line}: {error}") from None
            variables[name] = value
        line += text.count("\n", at, end)
        at = end
    return variables


def load(
    explicit: Sequence[str], home: str, cwd: str, environ: Mapping[str, str]
) -> dict[str, str]:
    """The variables of all environment files, the later one winning.

    In order: ``~/.deepspeed_env``, ``~/.madrun_env``, the same two in the working directory, then
    the explicit ones. $DS_ENV_FILE names another file than ``.deepspeed_env``, or by an absolute
    path the only one read besides the explicit ones. Raises InputError where a file that somebody
    named is missing.
    """
    override = environ.get(OVERRIDE_VARIABLE, "")
    variables: dict[str, str] = {}
    if os.path.isabs(override):
        variables |= _read(override, f"${OVERRIDE_VARIABLE}")
    else:
        variables |= _read_defaults(override, home, cwd)
    return variables | load_named(explicit, cwd)


def load_named(paths: Sequence[str], cwd: str) -> dict[str, str]:
    """The variables of the files that --env-file names, the later one winning."""
    variables: dict[str, str] = {}
    for path in paths:
        variables |= _read(os.path.join(cwd, path), "--env-file")
    return variables


def _read_defaults(override: str, home: str, cwd: str) -> dict[str, str]:
    variables: dict[str, str] = {}
    found = set()
    for folder in (home, cwd):
        for name in (override or DEEPSPEED_FILE, MADRUN_FILE):
            path = os.path.join(folder, name)
            # A folder of that name (a virtual environment, say) is none of ours.
            if os.path.isfile(path):
                found.add(name)
                variables |= _read(path, "environment file")
    if override and override not in found:
        raise InputError(f"${OVERRIDE_VARIABLE} {override}: no such file in {home} or {cwd}")
    return variables


def _read(path: str, role: str) -> dict[str, str]:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
            text = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        raise InputError(f"{role} {path}: {getattr(error, 'strerror', None) or error}") from None
    if len(text) > MAX_BYTES:
        raise InputError(f"{role} {path}: larger than {MAX_BYTES >> 20} MiB")
    variables = parse(text, path)
    for name in variables:
        if reason := exports.refusal(name):
            raise InputError(f"{role} {path}: {name} cannot be set there: {reason}")
    return variables


def _assignment(text: str, start: int, end: int) -> tuple[str, str, int]:
    """Name and value of the assignment that starts there, and where the next line starts."""
    before, equals, after = text[start : end - 1].partition("=")
    if not equals:
        # The value of a damaged line may be a secret; the line is named, not shown.
        raise InputError("there is no = in it; a line reads: NAME=value")
    words = before.split()
    name = words[1] if words[:1] == ["export"] and len(words) == 2 else before.strip()
    if not re.fullmatch(_NAME, name):
        raise InputError(f"{name[:60]!r} is not a variable name; allowed are letters, digits and _")
    opening = after.lstrip(" \t")
    if opening.startswith(("'", '"')):
        value, end = _quoted(text, end - 1 - len(opening), opening[0])
    else:
        value = re.sub(_COMMENT, "", after).strip(" \t\r")
    if "\0" in value:
        raise InputError(f"the value of {name} holds a NUL byte")
    return name, value, end


def _quoted(text: str, start: int, quote: str) -> tuple[str, int]:
    found = re.compile(_DOUBLE if quote == '"' else _SINGLE).match(text, start)
    if found is None:
        raise InputError(f"the quote {quote} is never closed")
    end = text.find("\n", found.end()) + 1 or len(text) + 1
    if re.sub(_COMMENT, "", text[found.end() : end - 1]).strip(" \t\r"):
        raise InputError(f"there is text after the closing {quote}; quote the whole value")
    return (re.sub(_ESCAPED, r"\1", found[1]) if quote == '"' else found[1]), end
