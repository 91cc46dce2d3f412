"""Key lines in anything that a login may print."""

from __future__ import annotations

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from madrun.wire.key_line import KeyLine, find_key_line

LINES = st.builds(
    KeyLine,
    st.integers(0, 9_999_999),
    st.from_regex(r"[!-~]{1,64}", fullmatch=True),
    st.from_regex(r"[0-9a-f]{64}", fullmatch=True),
    st.just(""),
    st.sampled_from(["", "10.0.0.1", "fd00::1"]),
)
PIECES = st.sampled_from(
    [b"MADRUN-AGENT 1 ", b"MADRUN-AGENT", b" 0 1.0 ", b"ab" * 32, b"\r\n", b"\n"]
)
NOISE = st.binary(max_size=40) | st.lists(PIECES | st.binary(max_size=4), max_size=8).map(b"".join)


@given(NOISE)
def test_any_bytes_are_a_line_or_none(output: bytes) -> None:
    found = find_key_line(output)
    if found is not None:
        assert len(found.key) == 64
        assert find_key_line(found.encode()) == found


@settings(deadline=None, max_examples=60)
@given(LINES, NOISE, NOISE)
def test_a_line_is_found_in_any_noise(line: KeyLine, before: bytes, after: bytes) -> None:
    assume(find_key_line(before + b"\n") is None)
    assert find_key_line(before + line.encode() + after) == line


@settings(deadline=None, max_examples=60)
@given(LINES, st.data())
def test_in_whatever_pieces_it_comes(line: KeyLine, data: st.DataObject) -> None:
    """As the login's output is read: everything so far is looked at again."""
    encoded = line.encode()
    cut = data.draw(st.integers(0, len(encoded) - 1))
    assert find_key_line(encoded[:cut]) is None
    assert find_key_line(encoded[:cut] + encoded[cut:]) == line
