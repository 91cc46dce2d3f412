"""Workers that read the user's stdin: pipes, files, terminals, nothing at all; and prompts."""

from __future__ import annotations

import hashlib
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.cluster import BIN
from support.here import MADRUN, Words, environment
from support.programs import PATIENCE
from support.terminal import Conversation

SUM = "import sys, hashlib; d = sys.stdin.buffer.read(); print(len(d), hashlib.md5(d).hexdigest())"
BYTES = os.urandom(1_000_000)
WHOLE = f"1000000 {hashlib.md5(BYTES).hexdigest()}"
EMPTY = f"0 {hashlib.md5(b'').hexdigest()}"
STDIN_NAME = "readlink /proc/self/fd/0"


def run(
    *words: Words, stdin: bytes | int = b"", command: Path = MADRUN
) -> subprocess.CompletedProcess[str]:
    """madrun or madagent to its end, with these bytes on a pipe or a descriptor as its stdin."""
    given: dict[str, bytes | int] = {"input" if isinstance(stdin, bytes) else "stdin": stdin}
    done = subprocess.run(
        [command, *words],
        env=environment(),
        capture_output=True,
        timeout=PATIENCE,
        check=False,
        **given,  # type: ignore[call-overload]
    )
    return subprocess.CompletedProcess(
        done.args, done.returncode, done.stdout.decode(), done.stderr.decode()
    )


@pytest.fixture
def file(tmp_path: Path) -> Iterator[int]:
    """A file with BYTES, open for reading."""
    path = tmp_path / "input"
    path.write_bytes(BYTES)
    fd = os.open(path, os.O_RDONLY)
    yield fd
    os.close(fd)


@pytest.mark.slow
@pytest.mark.parametrize("command", ["madrun", "madagent"])
@pytest.mark.parametrize(
    ("options", "readers"), [([], {0}), (["--stdin", "2"], {2}), (["--stdin", "all"], {0, 1, 2})]
)
def test_who_reads_gets_it_whole_and_then_its_end(
    command: str, options: list[str], readers: set[int]
) -> None:
    words = ["--nproc-per-node", "3", *options, "--no-python", sys.executable, "-c", SUM]
    done = run(*words, stdin=BYTES, command=BIN / command)
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.splitlines()) == [
        f"[localhost:{rank}] {WHOLE if rank in readers else EMPTY}" for rank in range(3)
    ]


def test_a_file(file: int) -> None:
    done = run("--no-prefix", "--no-python", sys.executable, "-c", SUM, stdin=file)
    assert done.stdout == f"{WHOLE}\n"


def test_a_file_is_read_only_as_far_as_it_is_taken(file: int) -> None:
    """As in ``while read line; do madrun ...; done < list``; ssh would read all of it as well."""
    assert run("--stdin", "none", "--no-python", "true", stdin=file).returncode == 0
    assert os.lseek(file, 0, os.SEEK_CUR) == 0
    assert run("--no-python", "sh", "-c", "sleep 0.5", stdin=file).returncode == 0
    assert 0 < os.lseek(file, 0, os.SEEK_CUR) < 200_000


@pytest.mark.parametrize("options", [[], ["--stdin", "none"]])
def test_without_input_there_is_no_pipe(options: list[str]) -> None:
    words = [*options, "--no-prefix", "--no-python", "sh", "-c", STDIN_NAME]
    given: bytes | int = b"unheard" if options else subprocess.DEVNULL
    assert run(*words, stdin=given).stdout == "/dev/null\n"


def test_a_closed_stdin_is_none() -> None:
    done = subprocess.run(
        ["sh", "-c", f'exec "$0" --no-prefix --no-python {STDIN_NAME} <&-', MADRUN],
        env=environment(), capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "/dev/null\n"), done.stderr


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("3", "--stdin 3: the ranks of this job are 0-0"),
        ("first", "--stdin 'first': allowed are none, all, or a rank"),
        ("-1", "--stdin '-1': allowed are"),
        ("", "--stdin '': allowed are"),
    ],
)
@pytest.mark.parametrize("command", ["madrun", "madagent"])
def test_a_mistake_is_said(given: str, said: str, command: str) -> None:
    done = run("--stdin", given, "train.py", command=BIN / command)
    assert done.returncode == 2
    assert said in done.stderr


@pytest.mark.parametrize("script", ["exec <&-; echo closed; sleep 1", "read x; exit 0"])
def test_a_worker_that_reads_no_more_ends_the_flow_quietly(script: str) -> None:
    """`yes` goes on for ever, and the others work on; nothing is said and nothing spins."""
    with subprocess.Popen(["yes"], stdout=subprocess.PIPE) as yes:
        assert yes.stdout is not None
        words = ["--nproc-per-node", "2", "--no-python", "sh", "-c"]
        script = f"if [ $RANK = 0 ]; then {script}; else sleep 1; echo other; fi"
        done = run(*words, script, stdin=yes.stdout.fileno())
        yes.kill()
    assert done.returncode == 0
    assert "[localhost:1] other" in done.stdout
    assert len(done.stderr.splitlines()) == 1, done.stderr


def test_a_worker_that_never_reads_stops_the_reading_not_the_job() -> None:
    read, write = os.pipe()
    os.set_blocking(write, False)
    job = subprocess.Popen(
        [MADRUN, "--no-python", "sh", "-c", "echo up; exec sleep 1000"],
        env=environment(), stdin=read, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    os.close(read)
    assert job.stdout is not None
    job.stdout.readline()
    sent = 0
    deadline = time.monotonic() + 1.0
    while time.monotonic() < deadline:
        try:
            sent += os.write(write, bytes(4096))
        except BlockingIOError:
            time.sleep(0.02)
    assert sent < 400_000
    job.send_signal(signal.SIGINT)
    job.communicate(timeout=PATIENCE)
    assert job.returncode == 130
    os.close(write)


# ---- prompts


@contextmanager
def talking(*words: Words) -> Iterator[Conversation]:
    """madrun with a pipe as its stdin, and one for both kinds of output."""
    with subprocess.Popen(
        [MADRUN, *words], env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, bufsize=0,
    ) as job:  # fmt: skip
        assert job.stdin is not None
        assert job.stdout is not None
        yield Conversation(job.stdout.fileno(), job.stdin.fileno())
        job.stdin.close()
        assert job.wait(PATIENCE) == 0


def test_a_prompt_is_shown_before_it_is_answered(tmp_path: Path) -> None:
    script = tmp_path / "ask.py"
    script.write_text("print('hello', input('name? '))\n")
    with talking(script) as job:
        job.until("\n[localhost:0] name? ")
        job.type("me\n")
        job.until("hello me\n")
        assert job.seen == ""


def test_a_line_interrupted_by_another_rank(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "turn")
    script = (
        f"if [ $RANK = 1 ]; then read turn <{tmp_path}/turn; echo other; exit; fi;"
        f" printf begun; read shown; echo >{tmp_path}/turn; read other; echo ' ended'"
    )
    with talking("--nproc-per-node", "2", "--no-python", "sh", "-c", script) as job:
        job.until("[localhost:0] begun")
        job.type("\n")
        job.until("\n[localhost:1] other\n")
        job.type("\n")
        job.until("[localhost:0]  ended\n")


def test_the_debugger(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(
        "import os\nx = 41\nif os.environ['RANK'] == '0': breakpoint()\nprint('x', x)\n"
    )
    with talking("--nproc-per-node", "2", script) as job:
        job.until("[localhost:0] (Pdb) ")
        job.type("x = 42\n")
        job.until("(Pdb) ")
        job.type("p x + 1\n")
        job.until("43\n[localhost:0] (Pdb) ")
        job.type("continue\n")
        job.until("x 42\n")


# ---- terminals


@contextmanager
def terminal(*words: Words) -> Iterator[Conversation]:
    """A program in the foreground of a terminal of its own."""
    ours, theirs = pty.openpty()
    job = subprocess.Popen(
        ["setsid", "-c", *words], env=environment() | {"PS1": "$ "}, stdin=theirs, stdout=theirs,
        stderr=theirs,
    )  # fmt: skip
    os.close(theirs)
    try:
        yield Conversation(ours, ours)
        assert job.wait(PATIENCE) == 0
    finally:
        job.kill()
        job.wait()
        os.close(ours)


def test_a_terminal_line_by_line_until_ctrl_d() -> None:
    words: Sequence[Words] = (MADRUN, "--no-prefix", "--no-python", "sh", "-c")
    with terminal(*words, "echo up; while read x; do echo got-$x; done; echo over") as job:
        job.until("up\n")
        job.type("one\n")
        job.until("got-one\n")
        job.type("two\n")
        job.until("got-two\n")
        job.type("\x04")
        job.until("over\n")


def test_in_the_background_the_terminal_is_the_shells() -> None:
    """No SIGTTIN stops the job; what is typed is the shell's until the job comes back."""
    command = f"{MADRUN} --no-prefix --no-python sh -c 'echo u''p; read x; echo got-$x' &\n"
    with terminal("bash", "--norc", "--noprofile", "-i") as shell:
        shell.until("$ ")
        shell.type(command)
        shell.until("up\n")
        for _ in range(2):
            shell.type("echo sh''ell\n")
            shell.until("shell\n")
        shell.type("jobs\n")
        shell.until("Running")
        shell.type("fg\n")
        shell.until("u''p")
        shell.type("word\n")
        shell.until("got-word\n")
        shell.until("$ ")  # until then what is typed is the job's
        shell.type("exit\n")


def test_stopped_and_continued() -> None:
    command = f"{MADRUN} --no-prefix --no-python sh -c 'echo u''p; read x; echo got-$x'\n"
    with terminal("bash", "--norc", "--noprofile", "-i") as shell:
        shell.until("$ ")
        shell.type(command)
        shell.until("up\n")
        shell.type("\x1a")
        shell.until("Stopped")
        shell.type("fg\n")
        shell.until("u''p")
        shell.type("word\n")
        shell.until("got-word\n")
        shell.until("$ ")  # until then what is typed is the job's
        shell.type("exit\n")


def test_a_debugger_on_a_rank_without_stdin_is_explained(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text("import os\nif os.environ['RANK'] == '1': breakpoint()\n")
    done = subprocess.run(
        [BIN / "madrun", "--nproc-per-node", "2", script],
        input="",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "cause: rank 1 has no stdin; see --stdin: bdb.BdbQuit" in done.stderr, done.stderr
