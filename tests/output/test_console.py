"""The console: lines cut as they should be, and writing to real pipes."""

from __future__ import annotations

import os
import subprocess

import pytest

from madrun.output.line_assembler import LineAssembler
from support.programs import PATIENCE, line, program

MIB = 1024 * 1024


def shown(*pieces: bytes, step: float = 0.0) -> list[bytes]:
    """All lines of a stream that came in these pieces, ``step`` seconds apart."""
    assembler = LineAssembler()
    lines = [each for n, piece in enumerate(pieces) for each in assembler.feed(piece, n * step)]
    return lines + assembler.end()


@pytest.mark.parametrize(
    ("pieces", "lines"),
    [
        ([], []),
        ([b""], []),
        ([b"a\nb\n"], [b"a", b"b"]),
        ([b"a", b"b", b"\n", b"c"], [b"ab", b"c"]),
        ([b"\n\n"], [b"", b""]),
        ([b"no end"], [b"no end"]),
        ([b"dos\r\n", b"more\r\n"], [b"dos", b"more"]),
        ([b"dos\r", b"\nmore\r", b"\n"], [b"dos", b"more"]),
        ([b"\r\n"], [b""]),
        (["müde\n".encode()[:2], "müde\n".encode()[2:]], ["müde".encode()]),
        ([b"bin\0\xff\n"], [b"bin\0\xff"]),
        ([b"1%\r2%\r3%\n"], [b"3%"]),
        ([b"3%\r\r\n"], [b"3%"]),
        ([b"\x1b[31mred\x1b[0m\n"], [b"\x1b[31mred\x1b[0m"]),
    ],
)
def test_lines(pieces: list[bytes], lines: list[bytes]) -> None:
    assert shown(*pieces) == lines


def test_byte_by_byte_is_the_same() -> None:
    text = "one\nzwei ä\n\nthree".encode()
    assert shown(*(text[i : i + 1] for i in range(len(text)))) == text.split(b"\n")


def test_a_bar_is_shown_once_a_second_and_its_last_state_always() -> None:
    states = [b"%d%%\r" % n for n in range(25)]
    assert shown(*states, b"\n", step=0.1) == [b"0%", b"10%", b"20%", b"24%"]


def test_a_bar_that_starts_its_states_with_a_return() -> None:
    states = [b"\r%d%%" % n for n in range(25)]
    lines = shown(*states, b"\n", step=0.1)
    assert lines[-1] == b"24%"
    assert len(lines) == 4


def test_the_last_state_of_a_bar_without_an_end() -> None:
    assert shown(b"1%\r", b"2%\r", b"3%", step=0.1) == [b"1%", b"3%"]


def test_a_state_that_was_shown_is_not_shown_again() -> None:
    assert shown(b"100%\r", b"\nnext\n", step=5.0) == [b"100%", b"next"]


def test_the_same_text_in_two_lines_is_two_lines() -> None:
    assert shown(b"x\rx\n", b"x\r", b"x\nx\n") == [b"x", b"x", b"x"]


def test_a_line_without_end_is_broken_not_kept() -> None:
    assembler = LineAssembler()
    lines = [each for _ in range(40) for each in assembler.feed(b"x" * 64 * 1024, 0.0)]
    lines += assembler.end()
    assert b"".join(lines) == b"x" * 40 * 64 * 1024
    assert max(map(len, lines)) <= MIB + 64 * 1024


HEAD = """
import os, sys, threading
from madrun.output.console import Console
from madrun.output.look import Look
taken = []
console = Console(["a", "a", "b"], on_taken=lambda *each: taken.append(each))
"""


def output_of(script: str) -> tuple[str, str]:
    with program(HEAD + script, stderr=-1) as process:
        out, err = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, err
    return out.decode(), err.decode()


def test_lines_have_host_and_rank_and_keep_their_stream() -> None:
    out, err = output_of("""
console.output(0, 1, b"one\\ntw")
console.output(2, 2, b"wrong\\n")
console.output(1, 1, b"other\\n")
console.output(0, 1, b"o\\n")
console.close(20)
""")
    assert out == "[a:0] one\n[a:1] other\n[a:0] two\n"
    assert err == "[b:2] wrong\n"


def test_without_prefix() -> None:
    out, _ = output_of("""
console = Console(["a"], Look(prefix=False))
console.output(0, 1, b"one\\nrest")
console.close(20)
""")
    assert out == "one\nrest\n"


def test_last_words_are_shown_when_the_worker_has_gone() -> None:
    out, err = output_of("""
console.output(0, 1, b"prompt> ")
console.output(0, 2, b"half")
console.end_of(0)
console.end_of(0)
console.output(1, 1, b"later\\n")
console.close(20)
""")
    assert (out, err) == ("[a:0] prompt> \n[a:1] later\n", "[a:0] half\n")


def test_our_own_words_go_to_stderr_whatever_they_are() -> None:
    out, err = output_of(
        """
console.say("madrun: \\udce4 and \\u00e4")
console.dropped(2, 5)
console.dropped(1, 1)
console.close(20)
""".replace("\\udce4", "x")
    )
    assert out == ""
    assert err.splitlines() == [
        "madrun: x and ä",
        "madrun: 5 lines of rank 2 were not shown: the console was too slow",
        "madrun: 1 line of rank 1 was not shown: the console was too slow",
    ]


def test_every_byte_is_acknowledged_once() -> None:
    _, err = output_of("""
for size in (0, 3, 70000):
    console.output(1, 1, b"x" * size)
console.close(20)
print(taken, file=sys.stderr)
""")
    assert err == "[(1, 3), (1, 70000)]\n"


def test_nothing_is_acknowledged_before_it_is_written() -> None:
    script = """
said = sys.stderr
console.output(0, 1, b"x" * 200000 + b"\\n")
console.output(1, 1, b"done\\n")
console.close(0.2)
print(taken, file=sys.stderr, flush=True)
sys.stdin.readline()
console.close(20)
print(taken, file=sys.stderr, flush=True)
"""
    with program(HEAD + script, stderr=-1) as process:
        assert process.stderr is not None
        assert process.stderr.readline().startswith(b"madrun: 2 lines of stdout were not shown")
        assert process.stderr.readline() == b"[]\n"
        out, err = process.communicate(b"go\n", timeout=PATIENCE)
    assert 0 < len(out) < 200000, "what was given up is not shown later"
    assert err == b"[]\n"


def test_a_reader_that_closes_stops_nothing() -> None:
    script = """
sys.stdin.readline()
for _ in range(100):
    console.output(0, 1, b"x" * 10000 + b"\\n")
console.output(0, 2, b"still here\\n")
console.close(20)
print(sum(size for _, size in taken), file=sys.stderr)
os._exit(0)
"""
    read, write = os.pipe()
    with program(HEAD + script, stdout=write, stderr=-1) as process:
        os.close(write)
        os.close(read)
        _, err = process.communicate(b"go\n", timeout=PATIENCE)
        assert process.returncode == 0
    said = b"madrun: stdout: its reader has left; the job goes on, what it writes there is lost"
    assert sorted(err.splitlines()) == [
        b"%d" % (100 * 10001 + 11), b"[a:0] still here", said,
    ]  # fmt: skip


def test_a_pipe_that_does_not_block_gets_everything() -> None:
    script = """
os.set_blocking(1, False)
os.write(2, b"ready\\n")
console.output(0, 1, b"y" * 500000 + b"\\n")
console.close(20)
"""
    with program(HEAD + script, stderr=-1) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == b"ready\n"
        assert len(line(process)) == 500000 + len("[a:0] ")


def test_a_beginning_is_shown_at_once_and_goes_on() -> None:
    out, err = output_of("""
console.output(0, 1, b"one\\nname? ", True)
console.output(0, 1, b"first ", True)
console.output(0, 1, b"me\\nnext\\n")
console.output(1, 1, b"dots.", True)
console.output(0, 2, b"elsewhere\\n")
console.output(1, 1, b".\\n")
console.close(20)
print(sorted(taken), file=sys.stderr)
""")
    assert out == "[a:0] one\n[a:0] name? first me\n[a:0] next\n[a:1] dots..\n"
    assert err == "[a:0] elsewhere\n[(0, 6), (0, 8), (0, 10), (0, 10), (1, 2), (1, 5)]\n"


def test_a_beginning_that_was_interrupted_goes_on_in_a_line_of_its_own() -> None:
    out, _ = output_of("""
console.output(0, 1, b"begun", True)
console.output(1, 1, b"other\\n")
console.output(0, 1, b" ended\\n")
console.output(0, 1, b"prompt> ", True)
console.output(1, 1, b"prompt> ", True)
console.output(0, 1, b"\\n")
console.output(1, 1, b"\\n")
console.output(2, 1, b"last", True)
console.end_of(2)
console.close(20)
""")
    assert out == (
        "[a:0] begun\n[a:1] other\n[a:0]  ended\n[a:0] prompt> \n[a:1] prompt> \n[b:2] last\n"
    )


def test_a_bar_behind_a_beginning_is_drawn_anew() -> None:
    out, _ = output_of("""
console.output(0, 1, b"1%", True)
console.output(0, 1, b"\\r2%", True)
console.output(0, 1, b"\\r3%\\n")
console.close(20)
""")
    assert out == "[a:0] 1%\n[a:0] 3%\n"


def test_on_one_terminal_both_streams_share_the_line() -> None:
    script = """
console.output(0, 1, b"begun", True)
while not taken: pass
console.output(1, 2, b"wrong\\n")
console.close(20)
"""
    with program(HEAD + script, stderr=subprocess.STDOUT) as process:
        out, _ = process.communicate(timeout=PATIENCE)
    assert out == b"[a:0] begun\n[a:1] wrong\n"
