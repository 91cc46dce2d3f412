"""The key line, found in whatever a login prints."""

from __future__ import annotations

import pytest

from madrun.wire.key_line import GoneLine, KeyLine, find_gone_line, find_key_line

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


@pytest.mark.parametrize(
    "line",
    [
        LINE._replace(address="10.0.0.7"),
        LINE._replace(address="fd00::7"),
        LINE._replace(node_rank=-1, host="node07.site"),
        LINE._replace(node_rank=-1, host="7", address="10.0.0.7"),
    ],
)
def test_a_place_by_name_and_an_address(line: KeyLine) -> None:
    assert find_key_line(b"node07: " + line.encode().lstrip()) == line


@pytest.mark.parametrize(
    "line",
    [GoneLine(3, "", 0), GoneLine(-1, "node07", -9), GoneLine(3, "", 125, "its guard was killed")],
)
def test_gone_lines(line: GoneLine) -> None:
    assert find_gone_line(line.encode()) == line
    assert find_gone_line(line.encode().replace(b"\n", b"\r\n")) == line
    assert find_key_line(line.encode()) is None
    assert find_gone_line(LINE.encode()) is None


def test_words_of_a_gone_line_stay_on_one_line_and_short() -> None:
    found = find_gone_line(GoneLine(1, "", 125, "a\nMADRUN-GONE 1 2 0\n" + "x" * 999).encode())
    assert found is not None
    assert found.node_rank == 1
    assert len(found.words) == 300
