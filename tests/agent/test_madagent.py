"""``python -m madrun.agent`` by hand: one node of a job, or all of a small one."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from madrun.hosts import world_info
from madrun.hosts.world import Node, World
from support.programs import PATIENCE, wait_gone

Run = Callable[..., "subprocess.CompletedProcess[str]"]
WORLD = world_info.encode(World((Node("a", (0, 1)), Node("b", (0,)))))
HERE = ["--world-info", world_info.encode(World((Node("here", (0, 1)),)))]


def start(folder: Path, *args: str) -> subprocess.Popen[str]:
    env = {key: value for key, value in os.environ.items() if not key.endswith("VISIBLE_DEVICES")}
    return subprocess.Popen(
        [sys.executable, "-m", "madrun.agent", *args],
        cwd=folder,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run madagent with these words, the program being this text, to its end."""

    def make(script: str, *args: str, after: tuple[str, ...] = ()) -> object:
        (tmp_path / "train.py").write_text(script)
        with start(tmp_path, *args, "train.py", *after) as process:
            out, err = process.communicate(timeout=PATIENCE)
        return subprocess.CompletedProcess(args, process.returncode, out, err)

    return make  # type: ignore[return-value]


def test_one_worker_per_slot(run: Run) -> None:
    script = """
import os, sys
names = "RANK LOCAL_RANK WORLD_SIZE MASTER_ADDR CUDA_VISIBLE_DEVICES"
print(*(os.environ[name] for name in names.split()), sys.argv[1:])
"""
    done = run(script, *HERE, after=("--lr", "a b", "-h"))
    assert sorted(done.stdout.splitlines()) == [
        "[here:0] 0 0 2 127.0.0.1 0,1 ['--lr', 'a b', '-h']",
        "[here:1] 1 1 2 127.0.0.1 0,1 ['--lr', 'a b', '-h']",
    ]
    assert (done.returncode, done.stderr) == (0, "")


def test_one_node_of_several(run: Run) -> None:
    script = "import os; print(*(os.environ[n] for n in ('RANK', 'MASTER_ADDR', 'MASTER_PORT')))"
    place = ["--world-info", WORLD, "--node-rank", "1", "--master-addr", "10.0.0.1"]
    done = run(script, *place, "--no-prefix")
    assert (done.returncode, done.stdout) == (0, "2 10.0.0.1 29500\n")


@pytest.mark.parametrize(("end", "status"), [("os._exit(7)", 7), ("os.kill(os.getpid(), 9)", 137)])
def test_the_first_failure_is_reported_and_its_status_is_ours(
    run: Run, end: str, status: int
) -> None:
    script = f"""
import os, signal
if os.environ["RANK"] == "1":
    {end}
signal.pause()
"""
    done = run(script, *HERE)
    assert done.returncode == status
    assert "madrun: rank 1 on here failed first: " in done.stderr
    assert done.stderr.endswith("madrun: ended because of it: rank 0\n")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_stopped_by_a_signal(tmp_path: Path, number: signal.Signals) -> None:
    (tmp_path / "train.py").write_text("import os, signal; print(os.getpid()); signal.pause()")
    with start(tmp_path, *HERE, "train.py") as process:
        assert process.stdout is not None
        pids = [int(process.stdout.readline().split()[-1]) for _ in range(2)]
        process.send_signal(number)
        _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 128 + number
    assert f"madrun: stopped by {number.name}" in err
    for pid in pids:
        wait_gone(pid)


def test_killed_it_leaves_nothing(tmp_path: Path) -> None:
    """What the user sees is the guard; its core ends everything when it is gone."""
    (tmp_path / "train.py").write_text("""
import os, signal
os.fork() or os.setsid()
os.write(1, b"%d\\n" % os.getpid())
signal.pause()
""")
    with start(tmp_path, *HERE, "--grace", "0.2", "train.py") as process:
        assert process.stdout is not None
        pids = [int(process.stdout.readline().split()[-1]) for _ in range(4)]
        process.kill()
        for pid in pids:
            wait_gone(pid)
        process.communicate(timeout=PATIENCE)


def test_what_cannot_run_says_why(run: Run) -> None:
    done = run("", *HERE, "--workdir", "gone")
    assert (done.returncode, done.stdout) == (125, "")
    first, second = done.stderr.splitlines()
    assert first == "madrun: the job was not started: 1 of 1 hosts cannot run it"
    assert re.fullmatch(r"    here  working directory \S*/gone is not there.*", second)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--no-such-option"], "No such option"),
        ([*HERE, "--node-rank", "1"], "--node-rank 1: this job has nodes 0-0"),
        (["--world-info", WORLD, "--node-rank", "0"], "--master-addr is needed"),
        (["--world-info", WORLD, "--master-addr", "x"], "--node-rank is needed"),
        (["--world-info", "!!"], "world info"),
        ([*HERE, "--hosts", "a"], "--hosts cannot be added"),
        ([*HERE, "--output", "7"], "--output '7'"),
        ([*HERE, "--launcher", "none"], "Unknown launcher type 'none'"),
        ([*HERE, "--module", "--no-python"], "exclude each other"),
        (["--hostfile", "/no/such/file"], "/no/such/file"),
    ],
)
def test_wrong_options(run: Run, args: list[str], words: str) -> None:
    done = run("", *args)
    assert done.returncode == 2
    assert done.stderr.startswith("madagent: ")
    assert done.stderr.count("\n") == 1
    assert words in done.stderr


def test_not_a_runners_command_line(tmp_path: Path) -> None:
    with start(tmp_path, "--runner", "127.0.0.1") as process:
        _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 2
    assert err.startswith("madagent: not a command line of a madrun runner")
