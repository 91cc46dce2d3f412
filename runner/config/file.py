"""Reading a config file (JSON, TOML or YAML) or the text of ``--additional-context`` as data.

Nothing here knows what a key means; a key that stands twice is an error in each form.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from madrun.options.option_types import shown
from madrun.system.errors import InputError

MAX_BYTES = 2**20
INLINE = "--additional-context"
_ADVICE = "its name ends in .json, .toml, .yaml or .yml"
_WORDS = {"true": True, "false": False, "null": None}
_NULL = re.compile(r"(?:~|null|Null|NULL|)$")


def read(path: str) -> dict[str, Any]:
    """The sections of a config file; raises InputError that names the file and what is wrong."""
    form = os.path.splitext(path)[1].lower()
    if form not in _FORMS:
        raise InputError(f"--config {path}: not a form that is known; {_ADVICE}")
    try:
        with open(path, "rb") as file:
            content = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"--config {path}: {reason}") from None
    if len(content) > MAX_BYTES:
        raise InputError(f"--config {path}: larger than {MAX_BYTES >> 20} MiB; is it a config?")
    return _parsed(lambda: _FORMS[form](content.decode("utf-8-sig")), f"--config {path}")


def inline(text: str) -> dict[str, Any]:
    """The sections in a text of JSON or of Python's literals; nothing in it is evaluated.

    >>> inline("{'multi_node_args': {'NNODES': 2, 'RUNNER': null}}")
    {'multi_node_args': {'NNODES': 2, 'RUNNER': None}}
    """
    if len(text) > MAX_BYTES:
        raise InputError(f"{INLINE}: longer than {MAX_BYTES >> 20} MiB")
    return _parsed(lambda: _literal(text), INLINE)


def _parsed(parse: Callable[[], object], source: str) -> dict[str, Any]:
    try:
        content = parse()
    except InputError as error:
        raise InputError(f"{source}: {error}") from None
    except RecursionError:
        raise InputError(f"{source}: nested too deeply") from None
    except (ValueError, SyntaxError, MemoryError) as error:
        # Python's parser has no memory left where it means that a text is nested too deeply.
        raise InputError(f"{source}: {_reason(error)}") from None
    if content is None:
        return {}  # an empty YAML file
    if not isinstance(content, dict):
        raise InputError(f"{source}: sections are wanted, not {shown(content)}")
    return content


def _reason(error: BaseException) -> str:
    if isinstance(error, SyntaxError):
        return f"line {error.lineno}: {error.msg}"
    return " ".join(str(error).split())[:300] or "cannot be read"


# ---- JSON


def _json(text: str) -> object:
    import json

    try:
        return json.loads(text, object_pairs_hook=_once, parse_constant=_no_number)
    except json.JSONDecodeError as error:
        line = text.splitlines()[error.lineno - 1 : error.lineno] or [""]
        if line[0][error.colno - 1 :].lstrip().startswith(("//", "/*", "#")):
            raise InputError(
                f"line {error.lineno}: JSON has no comments; a key that begins with _ is one,"
                " and TOML and YAML have them"
            ) from None
        raise


def _once(pairs: Sequence[tuple[Any, Any]]) -> dict[Any, Any]:
    found: dict[Any, Any] = {}
    for key, value in pairs:
        if key in found:
            raise InputError(f"the key {shown(key)} stands there twice")
        found[key] = value
    return found


def _no_number(word: str) -> NoReturn:
    raise InputError(f"{word} is not a number that can be used")


# ---- TOML


def _toml(text: str) -> object:
    from importlib import import_module
    from importlib.util import find_spec

    # Python 3.10 has no reader of its own; tomli is required there.
    parsed: object = import_module("tomllib" if find_spec("tomllib") else "tomli").loads(text)
    return parsed


# ---- YAML


def _yaml(text: str) -> object:
    try:
        import yaml
    except ImportError:
        raise InputError("to read YAML, PyYAML is needed: pip install pyyaml") from None

    class Loader(yaml.BaseLoader):
        """Scalars as they are written, so that 1.10, 012 and 12:30 arrive like that; and null."""

    def mapping(loader: Loader, node: yaml.MappingNode) -> dict[Any, Any]:
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise InputError(f"line {key.start_mark.line + 1}: a key must be a text")
        pairs = [
            (key.value, loader.construct_object(value, deep=True)) for key, value in node.value
        ]
        return _once(pairs)

    def sequence(loader: Loader, node: yaml.SequenceNode) -> list[Any]:
        return [loader.construct_object(item, deep=True) for item in node.value]

    def refuse(_loader: Loader, node: yaml.Node) -> NoReturn:
        raise InputError(
            f"line {node.start_mark.line + 1}: the tag {node.tag[:60]} has no use here"
        )

    null, tags = "tag:yaml.org,2002:null", yaml.resolver.BaseResolver
    Loader.add_constructor(null, lambda _loader, _node: None)
    Loader.add_constructor(tags.DEFAULT_SCALAR_TAG, lambda loader, node: node.value)
    Loader.add_constructor(tags.DEFAULT_SEQUENCE_TAG, sequence)
    Loader.add_constructor(tags.DEFAULT_MAPPING_TAG, mapping)
    Loader.add_constructor(None, refuse)
    Loader.add_implicit_resolver(null, _NULL, ["~", "n", "N", ""])
    try:
        return yaml.load(text, Loader)
    except yaml.MarkedYAMLError as error:
        at = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise InputError(f"{at}{error.problem}") from None
    except yaml.YAMLError as error:
        raise InputError(_reason(error)) from None


# ---- Python


def _literal(text: str) -> object:
    import ast
    import warnings

    def value_of(node: ast.expr) -> object:
        match node:
            case ast.Dict(keys, values):
                keyed = [
                    (key_of(key), value_of(value)) for key, value in zip(keys, values, strict=True)
                ]
                return _once(keyed)
            case ast.List(items) | ast.Tuple(items):
                return [value_of(item) for item in items]
            case ast.Name(word) if word in _WORDS:
                return _WORDS[word]
            case ast.Constant(str() | int() | float() | None as value):
                return value
            case ast.UnaryOp(ast.USub(), ast.Constant(int() | float() as value)):
                return -value
        raise InputError(f"line {node.lineno}: only texts, numbers, true, false, null, [] and {{}}")

    def key_of(node: ast.expr | None) -> object:
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            return node.value
        raise InputError("a key must be a text in quotes")

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a backslash that escapes nothing
        return value_of(ast.parse(text.strip(), mode="eval").body)


_FORMS: dict[str, Callable[[str], object]] = {
    ".json": _json,
    ".toml": _toml,
    ".yaml": _yaml,
    ".yml": _yaml,
}
