"""The key line, found in whatever a login prints."""

from __future__ import annotations

import pytest

from madrun.wire.hello import KeyLine, find_key_line

KEY = "0123456789abcdef" * 4
LINE = KeyLine(12, "0.1.0", KEY)


def test_round_trip() -> None:
    assert find_key_line(LINE.encode()) == LINE


@pytest.mark.parametrize(
    "before",
    [b"", b"Welcome to node01\n", b"prompt without end", b"\xff\xfe\0", b"MADRUN-AGENT 1 0 x y\n",
     b"x" * 100_000],
    ids=["nothing", "motd", "prompt", "binary", "half a line", "much"],
)  # fmt: skip
def test_garbage_before_the_line(before: bytes) -> None:
    assert find_key_line(before + LINE.encode() + b"more") == LINE


def test_a_terminal_turns_line_ends_into_crlf() -> None:
    assert find_key_line(LINE.encode().replace(b"\n", b"\r\n")) == LINE


def test_the_first_of_two_counts() -> None:
    assert find_key_line(LINE.encode() + KeyLine(3, "9", "f" * 64).encode()) == LINE


def test_it_is_not_there_before_its_last_byte() -> None:
    encoded = LINE.encode()
    assert all(find_key_line(encoded[:size]) is None for size in range(len(encoded)))


@pytest.mark.parametrize(
    "wrong",
    [
        b"MADRUN-AGENT 2 0 0.1 " + KEY.encode() + b"\n",
        b"MADRUN-AGENT 1 -1 0.1 " + KEY.encode() + b"\n",
        b"MADRUN-AGENT 1 0 0.1 " + KEY.upper().encode() + b"\n",
        b"MADRUN-AGENT 1 0 0.1 " + KEY[1:].encode() + b"\n",
        b"MADRUN-AGENT 1 0 0.1 " + KEY.encode() + b"0\n",
        b"MADRUN-AGENT 1 0 0.1 2 " + KEY.encode() + b"\n",
        b"MADRUN-AGENT 1 0  " + KEY.encode() + b"\n",
        b"madrun-agent 1 0 0.1 " + KEY.encode() + b"\n",
    ],
)
def test_what_is_no_key_line(wrong: bytes) -> None:
    assert find_key_line(wrong) is None
