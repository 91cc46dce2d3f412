from __future__ import annotations

import base64
import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from madrun.hosts.world import Node, World
from madrun.hosts.world_info import MAX_LENGTH, decode, encode
from madrun.system.errors import InputError


def packed(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode()


worlds = st.dictionaries(
    st.from_regex(r"[a-z0-9][a-z0-9.-]{0,20}", fullmatch=True),
    st.lists(st.integers(0, 4095), min_size=1, max_size=9, unique=True),
    min_size=1,
    max_size=9,
).map(lambda found: World(tuple(Node(host, tuple(each)) for host, each in found.items())))


@given(worlds)
def test_round_trip_in_deepspeeds_form(world: World) -> None:
    encoded = encode(world)
    reference = json.dumps({node.host: list(node.devices) for node in world.nodes})
    assert encoded == packed(reference)
    for text in (encoded, encoded.rstrip("="), base64.b64encode(reference.encode()).decode()):
        assert decode(f" {text}\n") == world


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "it is empty"),
        ("  \n", "it is empty"),
        ("====", "it is empty"),
        ("e30", "no host"),
        ("abcde", "not base64"),
        ("ab cd", "not base64"),
        ("eyJ!", "not base64"),
        ("é", "not base64"),
        ("/////w==", "no JSON"),
        (packed("{"), "no JSON"),
        (packed('{"a": [0]}')[:8], "no JSON"),
        (packed("[" * 100_000), "no JSON"),
        (packed('{"a": [' + "9" * 9000 + "]}"), ""),
        (packed("[0]"), "not an object"),
        (packed("null"), "not an object"),
        (packed('"a"'), "not an object"),
        (packed('{"a": 2}'), "host a: devices must be a list"),
        (packed('{"a": {"b": 1}}'), "host a: devices must be a list"),
        (packed('{"a": {}}'), "host a: devices must be a list"),
        (packed('{"a": [true]}'), "host a: devices must be a list"),
        (packed('{"a": [-1]}'), "host a: devices must be a list"),
        (packed('{"a": [1.0]}'), "host a: devices must be a list"),
        (packed('{"a": ["0"]}'), "host a: devices must be a list"),
        (packed('{"a": [NaN]}'), "host a: devices must be a list"),
        (packed('{"a": []}'), "host a"),
        (packed('{"a": [0, 0]}'), "twice"),
        (packed('{"a": [0], "a": [1]}'), "twice"),
        (packed('{"": [0]}'), "not a host name"),
        (packed('{"-oProxyCommand=id": [0]}'), "not a host name"),
        (packed('{"a\\nb": [0]}'), "not a host name"),
        ("A" * (MAX_LENGTH + 1), "longer than"),
    ],
)
def test_refuses(text: str, reason: str) -> None:
    with pytest.raises(InputError) as caught:
        decode(text)
    assert str(caught.value).startswith("world info: ")
    assert reason in str(caught.value)
    assert str(caught.value).isprintable()


@given(st.one_of(st.text(max_size=60), st.text(max_size=60).map(packed)))
def test_anything_is_a_world_or_a_refusal(text: str) -> None:
    with suppress(InputError):
        assert decode(text).nodes
