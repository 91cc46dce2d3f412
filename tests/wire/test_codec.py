"""The codec: what comes back is what went, and nonsense is a WireError and nothing else."""

from __future__ import annotations

from typing import Any, get_args

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from madrun.hosts.world import Node, World
from madrun.options.spec_groups import Limits, Workers
from madrun.system.errors import WireError
from madrun.wire import codec, messages
from madrun.wire.codec import MAX_FRAME, MAX_FRAME_UP, VERSION, pack, unpack
from madrun.wire.jobspec import JobSpec
from madrun.wire.messages import ExitKind, Message

WORLD = World((Node("node01", (0, 2)), Node("b", (7,))))
SPEC = JobSpec(
    job_id="j",
    world=WORLD,
    argv=("train.py", "two words", "\udcff", "", "$x; \n'"),
    env={"A": "\udc80", "B": ""},
    limits=Limits(grace=2),
    workers=Workers(core_list="0-3", threads=3),
)
EXAMPLES: list[Message] = [
    messages.Hello(3, "host", 4711),
    messages.CheckIn(),
    messages.CheckIn("no such folder", 125, "amd", 8, 29500),
    messages.MasterTried("10.0.0.1"),
    messages.Started((1, 2, 3)),
    messages.StartedLater(3, 4711),
    messages.Serving("http://node01:8000"),
    messages.Concluded(3, 4.5),
    messages.Drained(2),
    messages.Exited(1, 2, -9, 3.5, True, "GPU-1", b"\xff\0tail", "/log", "trouble", "cause"),
    messages.Exited(1, 0, 126, 3.5, False, kind=ExitKind.NOT_STARTED, words="not started: x"),
    messages.Output(0, 2, bytes(range(256))),
    messages.Output(0, 1, b"name? ", True),
    messages.Dropped(0, 17),
    messages.Input(0, b"\0\xff"),
    messages.InputCredit(0, 2),
    messages.Interrupted(15),
    messages.Interrupted(2, True, True),
    messages.Finished(("pid 1 sleep",)),
    messages.Begin(SPEC),
    messages.TryMaster(("a", "::1"), 1),
    messages.Go("a", 2),
    messages.Go("a", 2, ("a", "fd00::1"), ((8000, 6379), ())),
    messages.End(0.0, "why"),
    messages.End(5.0, "why", upto=2),
    messages.Signal(10),
    messages.OutputCredit(5),
    messages.Bye(),
    messages.JobOver(7),
    messages.Heartbeat(1.5, 0.0),
    messages.UdpHeartbeats(3, 40000, bytes(32)),
]


def frame_of(name: object, content: object, version: object = VERSION) -> bytes:
    packed: bytes = msgpack.packb([version, name, content])
    return packed


def test_there_is_an_example_of_every_message() -> None:
    assert {type(example) for example in EXAMPLES} == set(get_args(Message))


@pytest.mark.parametrize("message", EXAMPLES, ids=lambda each: type(each).__name__)
def test_round_trip(message: Message) -> None:
    assert unpack(pack(message)) == message


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (messages.Signal(15), messages.Interrupted(15)),
        (messages.Signal(15), (15,)),
        (messages.Bye(), ()),
        (messages.Drained(2), messages.OutputCredit(2)),
    ],
)
def test_messages_of_two_types_are_never_equal(one: Message, other: object) -> None:
    assert one != other
    assert other != one
    assert not one == other  # noqa: SIM201
    assert hash(one) != hash(other)
    assert len({one, other}) == 2


def test_messages_of_one_type_are_equal_by_what_they_say() -> None:
    assert messages.Signal(15) == messages.Signal(15)
    assert messages.Signal(15) != messages.Signal(10)
    assert len({messages.Bye(), messages.Bye()}) == 1


EXITED = {**messages.Exited(0, 0, 0, 0.0, ended=False)._asdict(), "kind": "by status"}
CHECK_IN = messages.CheckIn()._asdict()
WRONG: dict[str, bytes] = {
    "empty": b"",
    "not msgpack": b"\xc1",
    "a number": msgpack.packb(1),
    "a map": msgpack.packb({1: 2}),
    "nil": msgpack.packb(None),
    "two items": msgpack.packb([VERSION, "Bye"]),
    "four items": msgpack.packb([VERSION, "Bye", {}, 1]),
    "trailing bytes": pack(messages.Bye()) + b"\0",
    "cut off": pack(messages.Hello(1, "h", 2))[:-1],
    "other version": frame_of("Bye", {}, VERSION + 1),
    "true as version": frame_of("Bye", {}, True),
    "float as version": frame_of("Bye", {}, 1.0),
    "unknown name": frame_of("Rm", {}),
    "name of another type": frame_of(["Bye"], {}),
    "name of the module": frame_of("JobSpec", {}),
    "dunder": frame_of("__name__", {}),
    "no fields": frame_of("Signal", {}),
    "field too many": frame_of("Bye", {"a": 1}),
    "other field": frame_of("Signal", {"num": 1}),
    "fields as list": frame_of("Signal", [1]),
    "fields as nil": frame_of("Bye", None),
    "bool for int": frame_of("Signal", {"number": True}),
    "text for int": frame_of("Signal", {"number": "1"}),
    "float for int": frame_of("Signal", {"number": 1.0}),
    "nil for int": frame_of("Signal", {"number": None}),
    "a signal that there is none of": frame_of("Interrupted", {"number": 1000}),
    "signal 0": frame_of("Interrupted", {"number": 0}),
    "a negative rank": frame_of("Concluded", {"rank": -1, "at": 0.0}),
    "a NaN for a time": frame_of("Exited", {**EXITED, "at": float("nan")}),
    "a time beyond all clocks": frame_of("Exited", {**EXITED, "at": 1e300}),
    "an infinite time": frame_of("Concluded", {"rank": 0, "at": float("inf")}),
    "a status beyond all": frame_of("Exited", {**EXITED, "status": 100_000}),
    "a failure with status 0": frame_of("Exited", {**EXITED, "kind": "not started"}),
    "a problem with status 0": frame_of("CheckIn", {**CHECK_IN, "problem": "none"}),
    "a status without a problem": frame_of("CheckIn", {**CHECK_IN, "status": 3}),
    "a third stream": frame_of("Output", {"rank": 0, "stream": 3, "data": b"", "pause": False}),
    "a port that is none": frame_of("CheckIn", {**CHECK_IN, "port": 70_000}),
    "int for bool": frame_of(
        "Exited",
        {**EXITED, "ended": 1},
    ),
    "an unknown kind": frame_of("Exited", {**EXITED, "kind": "rm"}),
    "a list for a kind": frame_of("Exited", {**EXITED, "kind": [1]}),
    "bool for float": frame_of("End", {"grace": True, "reason": ""}),
    "text for bytes": frame_of("Output", {"rank": 0, "stream": 1, "data": "x", "pause": False}),
    "text for list": frame_of("Finished", {"left": "abc"}),
    "mixed list": frame_of("Finished", {"left": ["a", 1]}),
    "map for list": frame_of("Started", {"pids": {"a": 1}}),
    "list as key": b"\x93\x01\xa3Bye\x81\x90\x01",
    "extension": frame_of("Bye", msgpack.ExtType(5, b"x")),
    "timestamp": frame_of("Heartbeat", {"sent": msgpack.Timestamp(1), "echo": 0.0}),
}  # fmt: skip


@pytest.mark.parametrize("frame", WRONG.values(), ids=WRONG.keys())
def test_refused(frame: bytes) -> None:
    with pytest.raises(WireError):
        unpack(frame)


@pytest.mark.parametrize(
    "world",
    [[], "ab", [["a"]], [["a", [0], 1]], [["a", []]], [["a", [0, 0]]], [["a", [True]]],
     [["a", [0]], ["a", [1]]], [[1, [0]]], [{"a": [0]}], {"a": [0]}, None],
    ids=repr,
)  # fmt: skip
def test_a_world_that_is_none(world: Any) -> None:
    content = SPEC._asdict()
    with pytest.raises(WireError):
        unpack(frame_of("Begin", {"spec": {**content, "world": world, "argv": ["a"], "env": {}}}))


def test_a_frame_that_is_too_large_is_not_even_looked_at() -> None:
    with pytest.raises(WireError, match="at most"):
        unpack(bytes(MAX_FRAME + 1))


def test_deep_nesting_is_refused() -> None:
    with pytest.raises(WireError):
        unpack(b"\x91" * 100_000 + b"\x90")


def test_a_message_says_what_is_wrong_with_it() -> None:
    with pytest.raises(WireError, match=r"Signal.number: a int from 1 to 64 is wanted, not 'ten'"):
        unpack(frame_of("Signal", {"number": "ten"}))


@pytest.mark.parametrize("name", ["Signal", "Finished", "Hello"])
def test_what_is_nested_deeply_is_refused_and_not_shown(name: str) -> None:
    nested: list[Any] = []
    for _ in range(400):  # msgpack takes so many; repr() of it in a deep stack is our own end
        nested = [nested]
    fields = {"Signal": {"number": nested}, "Finished": {"left": nested}, "Hello": nested}[name]
    with pytest.raises(WireError) as refusal:
        unpack(frame_of(name, fields))
    assert "[[" not in str(refusal.value)
    for frame in (frame_of(nested, {}), frame_of("Bye", {}, nested)):
        with pytest.raises(WireError) as refusal:
            unpack(frame)
        assert "[[" not in str(refusal.value)


def test_an_agents_frame_may_be_smaller_than_a_runners() -> None:
    frame = pack(messages.Finished(("x" * MAX_FRAME_UP,)))
    assert unpack(frame) == messages.Finished(("x" * MAX_FRAME_UP,))
    with pytest.raises(WireError, match=f"at most {MAX_FRAME_UP}"):
        unpack(frame, MAX_FRAME_UP)


def refuse_or_take(frame: bytes) -> None:
    """Either a message that can go out again, or a WireError."""
    try:
        message = unpack(frame)
    except WireError:
        return
    back = unpack(pack(message))
    assert type(back) is type(message)
    assert pack(back) == pack(message)  # a NaN is not equal to itself


@given(st.binary(max_size=200))
@settings(max_examples=300, deadline=None)
def test_random_bytes(frame: bytes) -> None:
    refuse_or_take(frame)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False)
    | st.text(max_size=5) | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)  # fmt: skip


@given(st.sampled_from(EXAMPLES), st.data())
@settings(max_examples=300, deadline=None)
def test_any_value_in_any_field(message: Message, data: st.DataObject) -> None:
    version, name, content = msgpack.unpackb(pack(message), unicode_errors="surrogateescape")
    if content:
        content[data.draw(st.sampled_from(sorted(content)))] = data.draw(VALUES)
    frame = msgpack.packb([version, name, content], unicode_errors="surrogateescape")
    refuse_or_take(frame)


@given(st.sampled_from(EXAMPLES), st.integers(0, 10_000), st.integers(0, 255))
@settings(max_examples=500, deadline=None)
def test_one_damaged_byte(message: Message, place: int, value: int) -> None:
    frame = bytearray(pack(message))
    frame[place % len(frame)] = value
    refuse_or_take(bytes(frame))


def test_the_protocol_has_a_version_of_its_own() -> None:
    assert type(codec.VERSION) is int
