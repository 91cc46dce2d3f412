"""Colours, aligned prefixes, and what of a worker's escapes reaches the terminal."""

from __future__ import annotations

import sys

import pytest

from madrun.output.line_assembler import LineAssembler
from madrun.output.look import without_controls, without_moves
from support.here import madrun
from support.terminal import on_a_terminal

CLEAR, RED, RESET, CYAN = "\x1b[2J", "\x1b[31m", "\x1b[0m", "\x1b[36m"


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        (b"plain", b"plain"),
        ("müde ☃ 𝄞\tx".encode(), "müde ☃ 𝄞\tx".encode()),
        (b"\x1b[31mred\x1b[0m", b"\x1b[31mred\x1b[0m"),
        (b"\x1b[31mred\x1b[m", b"\x1b[31mred\x1b[m"),
        (b"\x1b[31mred\x1b[1;0m", b"\x1b[31mred\x1b[1;0m"),
        (b"\x1b[38;5;10mgreen", b"\x1b[38;5;10mgreen\x1b[0m"),
        (b"\x1b[0mno\x1b[1mbold", b"\x1b[0mno\x1b[1mbold\x1b[0m"),
        (b"\x1b[2Jwiped", b"wiped"),
        (b"\x1b[Aup\x1b[10;2Hthere\x1b[?25lcursor", b"upthere" + b"cursor"),
        (b"\x1b[?1049halternate", b"alternate"),
        (b"\x1b]0;title\x07text", b"text"),
        (b"\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", b"link"),
        (b"\x1bPq#0\x1b\\sixel", b"sixel"),
        (b"\x1bcreset", b"reset"),
        (b"\x1b(0lines\x0e\x0f", b"lines"),
        (b"bell\x07 back\x08\x7f", b"bell back"),
        ("c1 \x9b2J".encode(), b"c1 2J"),
        (b"unfinished \x1b[3", b"unfinished "),
        (b"unfinished \x1b]0;title", b"unfinished "),
        (b"latin \xe9\xff", b"latin \xe9\xff"),
    ],
)
def test_colours_are_passed_on_and_moves_are_not(line: bytes, shown: bytes) -> None:
    assert without_moves(line) == shown
    assert b"\x1b" not in without_controls(line)


def test_a_line_that_only_moves_the_cursor_is_no_state_of_a_bar() -> None:
    lines = LineAssembler(without_moves)
    assert lines.feed(b"50%\r\x1b[A\r", now=0.0) == [b"50%"]


def test_an_escape_that_is_cut_in_two_by_a_pause_is_one() -> None:
    lines = LineAssembler(without_moves)
    assert lines.feed(b"name? \x1b[2", now=0.0) == []
    assert lines.begin() == b"name? "
    assert lines.feed(b"Jme\n", now=0.0) == [b"me"]


def test_bars_of_many_ranks_share_ten_states_a_second() -> None:
    lines = LineAssembler()
    shown = [each for n in range(100) for each in lines.feed(b"%d%%\r" % n, n * 0.1, pace=5.0)]
    assert shown == [b"0%", b"50%"]


def echo(*texts: str) -> tuple[str, ...]:
    """A worker that writes these texts as they are."""
    script = "import sys; sys.stdout.write(''.join(sys.argv[1:]))"
    return ("--no-python", sys.executable, "-c", script, *texts)


def test_on_a_terminal_hosts_have_colours_and_end_with_the_prefix() -> None:
    status, seen = on_a_terminal("--hosts", "localhost:1", *echo("hello\n"))
    assert status == 0
    assert f"{CYAN}[localhost:0]{RESET} hello\n" in seen


@pytest.mark.parametrize("env", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_no_color_is_obeyed(env: dict[str, str]) -> None:
    _, seen = on_a_terminal("--hosts", "localhost:1", *echo("hello\n"), env=env)
    assert "[localhost:0] hello\n" in seen
    assert "\x1b" not in seen


def test_prefixes_are_aligned_on_a_terminal_only() -> None:
    words = ("--hosts", "localhost:11", "--no-python", "sh", "-c", "echo $RANK")
    _, seen = on_a_terminal("--color", "never", *words)
    assert "[localhost:9]  9\n" in seen
    assert "[localhost:10] 10\n" in seen
    assert "[localhost:9] 9\n" in madrun(*words).stdout


def test_always_and_never_hold_everywhere() -> None:
    words = ("--hosts", "localhost:1", *echo(RED, "hello\n"))
    always, auto, never = (
        madrun("--color", when, *words).stdout for when in ("always", "auto", "never")
    )
    assert always == f"{CYAN}[localhost:0]{RESET} {RED}hello{RESET}\n"
    assert auto == f"[localhost:0] {RED}hello{RESET}\n"
    assert never == "[localhost:0] hello\n"


def test_a_screen_that_a_worker_clears_is_its_own() -> None:
    text = f"{CLEAR}\x1b[?1049h\x1b]0;mine\x07one\n"
    _, seen = on_a_terminal("--color", "never", "--hosts", "localhost:1", *echo(text))
    assert "[localhost:0] one\n" in seen
    assert "\x1b" not in seen


def test_without_prefix_a_worker_has_the_terminal() -> None:
    _, seen = on_a_terminal("--no-prefix", "--hosts", "localhost:1", *echo(f"{CLEAR}{RED}one\n"))
    assert f"{CLEAR}{RED}one\n" in seen
