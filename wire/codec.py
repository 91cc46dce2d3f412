"""Messages as msgpack frames: ``[version, name, {field: value}]``, checked on the way in.

A frame that is too large, damaged, of another version, of an unknown name, or whose fields are
not exactly those of its message, in type and range, raises WireError; nothing else ever comes out
of ``unpack``. What came is a stranger's: no error shows more of it than a few characters.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

import msgpack

from madrun.hosts.world import Node, World
from madrun.options.spec_groups import Limits, Master, Workers
from madrun.system.errors import InputError, WireError
from madrun.wire.jobspec import JobSpec
from madrun.wire.messages import LAST, STDERR, STDOUT, CheckIn, Exited, ExitKind, Message

VERSION = 1
MAX_FRAME = 64 * 1024 * 1024  # bytes; a job spec with a large environment stays far below
MAX_FRAME_UP = 1024 * 1024  # bytes; an agent has no more to say at once

_LONGEST_TIME = 1e12  # seconds
_MOST = 2**62

_TYPES: dict[str, type] = {kind.__name__: kind for kind in get_args(Message)}


def pack(message: Message) -> bytes:
    """The frame of a message."""
    content = {name: _plain(getattr(message, name)) for name in _names(type(message))}
    frame = [VERSION, type(message).__name__, content]
    packed: bytes = msgpack.packb(frame, unicode_errors="surrogateescape")
    return packed


def unpack(frame: bytes, limit: int = MAX_FRAME) -> Message:
    """The message of a frame; raises WireError for anything that ``pack`` does not make.

    ``limit`` is how many bytes a frame may have.
    """
    if len(frame) > limit:
        raise WireError(f"a frame of {len(frame)} bytes; at most {limit} are taken")
    try:
        version, name, content = msgpack.unpackb(frame, unicode_errors="surrogateescape")
    except (ValueError, TypeError, msgpack.exceptions.UnpackException) as error:
        raise WireError(f"a damaged frame: {error}") from None
    if version != VERSION or type(version) is not int:
        raise WireError(f"a message of protocol version {_shown(version)}; this is {VERSION}")
    kind = _TYPES.get(name) if isinstance(name, str) else None
    if kind is None:
        raise WireError(f"an unknown message {_shown(name)}")
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
    """The type of a field as it is written; NamedTuple wraps it in a ForwardRef, and a group of
    options, whose types are objects, annotates it with its option."""
    annotation = kind.__annotations__[name]
    if hasattr(annotation, "__metadata__"):
        annotation = annotation.__origin__
    if isinstance(annotation, type):
        return annotation.__name__
    return str(getattr(annotation, "__forward_arg__", annotation))


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
    message = kind(**values)
    if kind in _RULES and not _RULES[kind](message):
        raise WireError(f"{kind.__name__}: its fields contradict each other")
    return message


def _exactly(kind: type) -> Callable[[Any], Any]:
    def read(value: Any) -> Any:
        if type(value) is not kind:
            raise TypeError(f"a {kind.__name__} is wanted, not {_shown(value)}")
        return value

    return read


def _between(low: int, high: int) -> Callable[[Any], Any]:
    def read(value: Any) -> Any:
        if type(value) is not int or not low <= value <= high:
            raise TypeError(f"a int from {low} to {high} is wanted, not {_shown(value)}")
        return value

    return read


def _seconds(value: Any) -> float:
    if type(value) not in (int, float) or not abs(value) <= _LONGEST_TIME:  # nor a NaN
        raise TypeError(f"a number of seconds is wanted, not {_shown(value)}")
    return float(value)


def _shown(value: Any) -> str:
    """A foreign value in few characters; a nested one is not looked into."""
    if isinstance(value, str | bytes):
        return repr(value[:40])
    return repr(value) if isinstance(value, int | float | None) else f"a {type(value).__name__}"


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
    "float": _seconds,
    "Count": _between(0, _MOST),
    "NodeRank": _between(-1, _MOST),
    "ReturnCode": _between(-64, 255),
    "ExitStatus": _between(0, 255),
    "SignalNumber": _between(1, 64),
    "Port": _between(0, 65535),
    "StreamNumber": _between(STDOUT, STDERR),
    "StopOrder": _between(0, LAST),
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

# What the fields of one message must not say at once: a problem with exit status 0, as if all went
# well; a process that had failed without one.
_RULES: dict[type, Callable[[Any], bool]] = {
    CheckIn: lambda message: bool(message.problem) == bool(message.status),
    Exited: lambda message: message.kind is ExitKind.BY_STATUS or message.status != 0,
}
