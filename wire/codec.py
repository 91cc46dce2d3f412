"""Messages as msgpack frames: ``[version, name, {field: value}]``, checked on the way in.

A frame that is too large, damaged, of another version, of an unknown name, or whose fields are
not exactly those of its message raises WireError; nothing else ever comes out of ``unpack``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

import msgpack

from madrun.hosts.world import Node, World
from madrun.options.spec_groups import Limits, Master, Workers
from madrun.system.errors import InputError, WireError
from madrun.wire.jobspec import JobSpec
from madrun.wire.messages import ExitKind, Message

VERSION = 1
MAX_FRAME = 64 * 1024 * 1024  # bytes; a job spec with a large environment stays far below

_TYPES: dict[str, type] = {kind.__name__: kind for kind in get_args(Message)}


def pack(message: Message) -> bytes:
    """The frame of a message."""
    content = {name: _plain(getattr(message, name)) for name in _names(type(message))}
    frame = [VERSION, type(message).__name__, content]
    packed: bytes = msgpack.packb(frame, unicode_errors="surrogateescape")
    return packed


def unpack(frame: bytes) -> Message:
    """The message of a frame; raises WireError for anything that ``pack`` does not make."""
    if len(frame) > MAX_FRAME:
        raise WireError(f"a frame of {len(frame)} bytes; at most {MAX_FRAME} are taken")
    try:
        version, name, content = msgpack.unpackb(frame, unicode_errors="surrogateescape")
    except (ValueError, TypeError, msgpack.exceptions.UnpackException) as error:
        raise WireError(f"a damaged frame: {error}") from None
    if version != VERSION or type(version) is not int:
        raise WireError(f"a message of protocol version {version!r}; this is {VERSION}")
    kind = _TYPES.get(name) if isinstance(name, str) else None
    if kind is None:
        raise WireError(f"an unknown message {name!r}")
    message: Message = _build(kind, content)
    return message


def _plain(value: Any) -> Any:
    if isinstance(value, JobSpec | Master | Workers | Limits):
        return {name: _plain(getattr(value, name)) for name in _names(type(value))}
    if isinstance(value, World):
        return [[node.host, list(node.devices)] for node in value.nodes]
    if isinstance(value, ExitKind):
        return value.value
    return value


def _names(kind: type) -> list[str]:
    return [name for name in kind.__annotations__ if not name.startswith("_")]


def _annotation(kind: type, name: str) -> str:
    """The type of a field as it is written; NamedTuple wraps it in a ForwardRef, and a group
    annotates it with its option."""
    annotation = kind.__annotations__[name]
    text = str(getattr(annotation, "__forward_arg__", annotation))
    return text.removeprefix("Annotated[").partition(", Option(")[0]


def _build(kind: type, content: Any) -> Any:
    if not isinstance(content, dict) or set(content) != set(_names(kind)):
        raise WireError(f"the fields of a {kind.__name__} message are not the known ones")
    values = {}
    for name in _names(kind):
        read = _READERS[_annotation(kind, name)]
        try:
            values[name] = read(content[name])
        except (TypeError, InputError) as error:
            raise WireError(f"{kind.__name__}.{name}: {error}") from None
    return kind(**values)


def _exactly(kind: type) -> Callable[[Any], Any]:
    def read(value: Any) -> Any:
        if type(value) is not kind:
            raise TypeError(f"a {kind.__name__} is wanted, not {value!r:.40}")
        return value

    return read


def _number(value: Any) -> float:
    if type(value) not in (int, float):
        raise TypeError(f"a number is wanted, not {value!r:.40}")
    return float(value)


def _tuple_of(kind: type) -> Callable[[Any], Any]:
    item, sequence = _exactly(kind), _exactly(list)
    return lambda value: tuple(item(each) for each in sequence(value))


def _strings(value: Any) -> dict[str, str]:
    text = _exactly(str)
    return {text(key): text(each) for key, each in _exactly(dict)(value).items()}


def _text_or_none(value: Any) -> str | None:
    return None if value is None else str(_exactly(str)(value))


def _world(value: Any) -> World:
    pairs = [_exactly(list)(pair) for pair in _exactly(list)(value)]
    if any(len(pair) != 2 for pair in pairs):
        raise TypeError("pairs of host and devices are wanted")
    devices = _tuple_of(int)
    return World(tuple(Node(_exactly(str)(host), devices(slots)) for host, slots in pairs))


_EXIT_KINDS = {kind.value: kind for kind in ExitKind}


def _exit_kind(value: Any) -> ExitKind:
    kind = _EXIT_KINDS.get(_exactly(str)(value))
    if kind is None:
        raise TypeError("an unknown kind of end")
    return kind


def _tuples_of_ints(value: Any) -> tuple[tuple[int, ...], ...]:
    return tuple(_tuple_of(int)(each) for each in _exactly(list)(value))


_READERS: dict[str, Callable[[Any], Any]] = {
    "int": _exactly(int),
    "str": _exactly(str),
    "bytes": _exactly(bytes),
    "bool": _exactly(bool),
    "float": _number,
    "tuple[str, ...]": _tuple_of(str),
    "tuple[int, ...]": _tuple_of(int),
    "tuple[tuple[int, ...], ...]": _tuples_of_ints,
    "dict[str, str]": _strings,
    "ExitKind": _exit_kind,
    "str | None": _text_or_none,
    "World": _world,
    "Master": lambda value: _build(Master, value),
    "Workers": lambda value: _build(Workers, value),
    "Limits": lambda value: _build(Limits, value),
    "JobSpec": lambda value: _build(JobSpec, value),
}
