"""Starting a program: what is found, and what the child is and is not given."""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from madrun.agent.spawn import spawn
from madrun.system.errors import ProgramNotExecutable, ProgramNotFound
from madrun.system.programs import find_program
from support.programs import PATIENCE, line, program, wait_gone


def executable(path: Path, mode: int = 0o755, text: str = "#!/bin/sh\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return path


def find(tmp_path: Path, name: str, path: str | None) -> str:
    env = {} if path is None else {"PATH": path}
    return find_program(name, env, str(tmp_path))


def test_the_first_on_the_path(tmp_path: Path) -> None:
    executable(tmp_path / "b/prog")
    executable(tmp_path / "c/prog")
    assert find(tmp_path, "prog", f"/none:{tmp_path}/a:{tmp_path}/b:{tmp_path}/c") == str(
        tmp_path / "b/prog"
    )


def test_what_cannot_be_executed_is_passed_over(tmp_path: Path) -> None:
    executable(tmp_path / "a/prog", mode=0o644)
    (tmp_path / "b/prog").mkdir(parents=True)
    good = executable(tmp_path / "c/prog")
    assert find(tmp_path, "prog", f"{tmp_path}/a:{tmp_path}/b:{tmp_path}/c") == str(good)


@pytest.mark.parametrize(
    ("path", "place"), [("bin", "bin"), ("", "."), ("/none:", "."), (":/none", ".")]
)
def test_relative_entries_mean_the_working_directory(tmp_path: Path, path: str, place: str) -> None:
    good = executable(tmp_path / place / "prog")
    assert os.path.samefile(find(tmp_path, "prog", path), good)


def test_without_a_path_the_systems_own() -> None:
    assert find(Path("/"), "sh", None) in ("/bin/sh", "/usr/bin/sh")


@pytest.mark.parametrize("name", ["./prog", "sub/prog"])
def test_a_name_with_a_slash_is_a_path(tmp_path: Path, name: str) -> None:
    good = executable(tmp_path / name)
    executable(tmp_path / "bin/prog")
    assert os.path.samefile(find(tmp_path, name, f"{tmp_path}/bin"), good)


def test_an_absolute_path(tmp_path: Path) -> None:
    good = str(executable(tmp_path / "prog"))
    assert find(Path("/"), good, "") == good


@pytest.mark.parametrize("name", ["prog", "./prog", "none/prog"])
def test_not_found(tmp_path: Path, name: str) -> None:
    with pytest.raises(ProgramNotFound, match="is not found"):
        find(tmp_path, name, "/none")


def test_not_executable(tmp_path: Path) -> None:
    executable(tmp_path / "prog", mode=0o644)
    for name in ("prog", "./prog"):
        with pytest.raises(ProgramNotExecutable, match="not executable"):
            find(tmp_path, name, str(tmp_path))


def test_a_folder(tmp_path: Path) -> None:
    (tmp_path / "prog").mkdir()
    with pytest.raises(ProgramNotExecutable, match="is a folder"):
        find(tmp_path, "./prog", "")


LOOK = """
import json, os, signal, sys
fds = {}
for fd in os.listdir("/proc/self/fd"):
    try:
        fds[fd] = os.readlink(f"/proc/self/fd/{fd}")
    except OSError:
        continue  # the one that lists
status = dict(each.split(":", 1) for each in open("/proc/self/status").read().splitlines())
print(json.dumps({
    "fds": sorted(int(fd) for fd in fds), "cwd": os.getcwd(), "argv": sys.argv[1:],
    "env": {k: v for k, v in os.environ.items() if k != "LC_CTYPE"},
    "leads": [os.getsid(0) == os.getpid(), os.getpgid(0) == os.getpid()],
    "cores": sorted(os.sched_getaffinity(0)), "stdin": sys.stdin.read(),
    "blocked": int(status["SigBlk"], 16),
}))
"""


def look(tmp_path: Path, argv: Sequence[str] = (), cores: Sequence[int] = ()) -> dict[str, Any]:
    """What a program finds where it starts."""
    read, write = os.pipe()
    nothing = os.open(os.devnull, os.O_RDONLY)
    words = [sys.executable, "-c", LOOK, *argv]
    pid = spawn(sys.executable, words, {"A": "b"}, str(tmp_path), (nothing, write, 2), cores)
    os.close(write)
    os.close(nothing)
    with open(read, "rb") as pipe:
        found: dict[str, Any] = json.loads(pipe.read())
    assert os.waitpid(pid, 0)[1] == 0
    return found


def test_what_a_worker_is_given(tmp_path: Path) -> None:
    hostile = ["a b", "'\"", "$x\n", "", "--"]
    found = look(tmp_path, hostile)
    assert found["argv"] == hostile
    assert found["env"] == {"A": "b"}
    assert found["cwd"] == str(tmp_path)
    assert found["stdin"] == ""
    assert found["leads"] == [True, True], "its own session"
    assert found["blocked"] == 0


def test_no_descriptor_leaks(tmp_path: Path) -> None:
    with socket.socket() as inherited, open(os.devnull, "rb") as file:
        for fd in (inherited.fileno(), file.fileno()):
            os.set_inheritable(fd, True)
        high = os.dup2(file.fileno(), 900, inheritable=True)
        fds = look(tmp_path)["fds"]
        os.close(high)
    assert fds[:3] == [0, 1, 2]
    assert len(fds) <= 4, "one more is that of the listing itself"
    assert 900 not in fds


def test_cores(tmp_path: Path) -> None:
    mine = sorted(os.sched_getaffinity(0))
    assert look(tmp_path, cores=mine[-1:])["cores"] == mine[-1:]
    assert look(tmp_path)["cores"] == mine
    assert sorted(os.sched_getaffinity(0)) == mine


def test_streams_may_be_any_descriptors_even_each_others_numbers() -> None:
    script = """
import os
from madrun.agent.spawn import spawn
os.close(0)
read, write = os.pipe()
assert read == 0
# Streams that sit on 3, 0 and 2: each is where another one has to go.
os.dup2(write, 3)
keep = os.dup(1)
os.dup2(keep, 2)
os.write(write, b"input")
os.close(write) if write != 3 else None
pid = spawn("/bin/sh", ["sh", "-c", "echo out >&1; echo err >&2"], {}, "/", (0, 2, 3))
os.waitpid(pid, 0)
os.close(3)
os.write(keep, b"read:" + os.read(0, 100))
"""
    with program(script) as process:
        said, _ = process.communicate(timeout=PATIENCE)
    assert said == b"out\nread:inputerr\n"


def test_signals_are_as_a_shell_gives_them(tmp_path: Path) -> None:
    """Python ignores SIGPIPE; sh cannot trap what was ignored at its start."""
    script = "kill -PIPE $$; kill -XFSZ $$; exit 0"
    streams = (0, 1, 2)
    pid = spawn("/bin/sh", ["sh", "-c", script], {}, str(tmp_path), streams)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGPIPE


def test_blocked_signals_of_ours_are_not_the_childs(tmp_path: Path) -> None:
    old = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    try:
        assert look(tmp_path)["blocked"] == 0
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, old)


def test_a_worker_dies_with_its_agent() -> None:
    script = """
import os, time
from madrun.agent.spawn import spawn
print(spawn("/bin/sleep", ["sleep", "600"], {}, "/", (0, 1, 2)), flush=True)
time.sleep(600)
"""
    with program(script) as agent:
        worker = int(line(agent))
        agent.kill()
        wait_gone(worker)


def failing(path: str, **change: Any) -> OSError:
    options: dict[str, Any] = {"argv": ["x"], "env": {}, "workdir": "/", "cores": ()} | change
    with pytest.raises(OSError, match=r".") as caught:
        spawn(path, options["argv"], options["env"], options["workdir"], (0, 1, 2),
              options["cores"])  # fmt: skip
    return caught.value


def test_exec_errors_come_back(tmp_path: Path) -> None:
    assert (failing("/none").errno, failing("/none").filename) == (errno.ENOENT, "/none")
    assert failing("/").errno == errno.EACCES
    no_format = str(executable(tmp_path / "data", text="no program"))
    assert failing(no_format).errno == errno.ENOEXEC
    no_interpreter = str(executable(tmp_path / "script", text="#!/no/such/interpreter\n"))
    assert failing(no_interpreter).errno == errno.ENOENT
    assert failing("/bin/true", argv=["true", "x" * 200_000]).errno == errno.E2BIG


def test_a_folder_that_is_gone_is_named_not_the_program(tmp_path: Path) -> None:
    error = failing("/bin/true", workdir=str(tmp_path / "gone"))
    assert error.errno == errno.ENOENT
    assert error.filename == str(tmp_path / "gone")


def test_a_value_that_no_program_can_take_is_an_error_not_a_silent_127() -> None:
    try:
        pid = spawn("/bin/true", ["true", "a\0b"], {}, "/", (0, 1, 2))
    except (OSError, ValueError):
        return
    os.waitpid(pid, 0)
    pytest.fail("it counts as started")


def test_a_failed_start_leaves_no_zombie_and_no_descriptor() -> None:
    before = os.listdir("/proc/self/fd")
    failing("/none")
    assert os.listdir("/proc/self/fd") == before
