"""An agent in a process of its own, driven by messages and by signals."""

from __future__ import annotations

import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from madrun.hosts.world import Node, World
from madrun.options.spec_groups import Limits, Master, Workers
from madrun.wire.jobspec import EXEC, JobSpec
from madrun.wire.messages import (
    Begin,
    Bye,
    CheckIn,
    End,
    Exited,
    ExitKind,
    Finished,
    Go,
    Interrupted,
    MasterTried,
    OutputCredit,
    Signal,
    Started,
    TryMaster,
)
from support.driven_agent import agent
from support.programs import PATIENCE, wait_gone

Spec = Callable[..., JobSpec]


@pytest.fixture
def spec(tmp_path: Path) -> Spec:
    """A job of two workers on this node that run a piece of Python."""

    def make(script: str = "pass", **change: Any) -> JobSpec:
        (tmp_path / "train.py").write_text(script)
        world = World((Node("here", (0, 1)), Node("there", (0,))))
        here, limits = str(tmp_path), Limits(grace=60.0)
        made = JobSpec("j", world, ("train.py",), workdir=here, limits=limits)
        made = made._replace(python=sys.executable)
        return made._replace(**change)

    return make


def check_in(spec: JobSpec, **env: str) -> CheckIn:
    with agent(0, **env) as driven:
        driven.tell(Begin(spec))
        found = driven.until(CheckIn)
        driven.tell(End(0.0, "enough"))
        driven.over()
    return found


def test_able(spec: Spec) -> None:
    found = check_in(spec())
    assert (found.problem, found.status) == ("", 0)
    assert found.port > 1024


def test_only_node_0_holds_a_port(spec: Spec) -> None:
    with agent(1) as driven:
        driven.tell(Begin(spec()))
        assert driven.until(CheckIn).port == 0
        driven.tell(End(0.0, "enough"))
        driven.over()


@pytest.mark.parametrize(
    ("change", "status", "words"),
    [
        ({"argv": ("none.py",)}, 127, "none.py is not found"),
        ({"workdir": "/no/such/folder"}, 125, "working directory /no/such/folder is not there"),
        ({"python": "/no/python"}, 127, "'/no/python' is not found"),
        ({"mode": EXEC, "argv": ("no-such-program",)}, 127, "on the PATH of the workers"),
        ({"mode": EXEC, "argv": ("./train.py",)}, 126, "is not executable"),
        ({"log_dir": "/dev/null/logs"}, 125, "log directory /dev/null/logs"),
        ({"launcher": "none"}, 125, "install the plug-in"),
        ({"workers": Workers(core_list="60000")}, 125, "core 60000 may not be used here"),
    ],
)
def test_not_able(spec: Spec, change: dict[str, Any], status: int, words: str) -> None:
    found = check_in(spec(**change))
    assert words in found.problem
    assert found.status == status


def test_too_few_devices(spec: Spec) -> None:
    found = check_in(spec(), CUDA_VISIBLE_DEVICES="GPU-1")
    assert found.status == 125
    assert found.problem.startswith("too few GPUs: slot 1 is wanted, there are 1 ")


def test_a_master_port_that_is_taken(spec: Spec) -> None:
    with socket.create_server(("", 0)) as listener:
        port = listener.getsockname()[1]
        found = check_in(spec(master=Master(port=port)))
    assert f"master port {port}" in found.problem


def test_a_job_that_goes_well(spec: Spec) -> None:
    script = """
import os, sys
print(os.environ["RANK"], os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"], flush=True)
print("err", file=sys.stderr)
"""
    with agent() as driven:
        assert len(driven.go(spec(script))) == 2
        assert driven.over() == Finished(())
        assert sorted(driven.said().splitlines()) == [
            "0 127.0.0.1 4711", "1 127.0.0.1 4711", "err", "err",
        ]  # fmt: skip
        assert driven.ends() == {0: (0, False), 1: (0, False)}


def test_the_master_port_is_free_for_the_worker(spec: Spec) -> None:
    script = """
import os, socket
if os.environ["RANK"] == "0":
    socket.create_server(("", int(os.environ["MASTER_PORT"]))).close()
"""
    with agent() as driven:
        driven.tell(Begin(spec(script)))
        driven.tell(Go("127.0.0.1", driven.until(CheckIn).port))
        driven.over()
        assert driven.ends()[0] == (0, False)


def test_one_failure_ends_the_others_of_the_node(spec: Spec) -> None:
    script = """
import os, signal, sys
if os.environ["RANK"] == "1":
    sys.exit("rank 1 is done for")
signal.pause()
"""
    with agent() as driven:
        pids = driven.go(spec(script))
        driven.over()
        assert driven.ends() == {1: (1, False), 0: (-signal.SIGTERM, True)}
        (failed,) = [each for each in driven.heard if isinstance(each, Exited) and each.rank == 1]
        assert (failed.pid, failed.tail) == (pids[1], b"rank 1 is done for\n")


def test_told_to_end(spec: Spec) -> None:
    script = "import signal; signal.signal(15, lambda *_: exit(0)); print('r'); signal.pause()"
    with agent() as driven:
        driven.go(spec(script))
        driven.text(2)
        driven.tell(End(60.0, "why not"))
        driven.over()
        assert driven.ends() == {0: (0, True), 1: (0, True)}


def test_a_shorter_grace_follows(spec: Spec) -> None:
    with agent() as driven:
        pids = driven.go(spec("import signal; signal.signal(15, 1); print('r'); signal.pause()"))
        driven.text(2)
        driven.tell(End(3600.0, "a signal"))
        driven.tell(End(0.0, "a second one"))
        driven.over()
        assert driven.ends() == {0: (-9, True), 1: (-9, True)}
        for pid in pids:
            wait_gone(pid)


def test_orphans_of_a_job_that_went_well_are_ended(spec: Spec) -> None:
    script = """
import os, signal
if os.fork() == 0:
    os.setsid()
    print(os.getpid(), flush=True)
    signal.pause()
"""
    with agent() as driven:
        driven.go(spec(script))
        driven.over()
        assert driven.ends() == {0: (0, False), 1: (0, False)}


def test_signals_are_passed_on_and_end_nothing(spec: Spec) -> None:
    script = """
import signal
signal.signal(signal.SIGUSR1, lambda *_: print("saved", flush=True))
print("ready", flush=True)
while True:
    signal.pause()
"""
    with agent() as driven:
        driven.go(spec(script))
        driven.text(2)
        driven.tell(Signal(signal.SIGUSR1))
        assert driven.text(4).count("saved") == 2
        driven.tell(End(0.0, "enough"))
        driven.over()
        assert driven.ends() == {0: (-9, True), 1: (-9, True)}


def test_a_signal_to_the_agent_ends_its_node_and_is_told(spec: Spec) -> None:
    with agent() as driven:
        driven.go(spec("import signal; signal.pause()"))
        driven.process.send_signal(signal.SIGTERM)
        assert driven.until(Interrupted) == Interrupted(signal.SIGTERM)
        driven.over()
        assert driven.ends() == {0: (-15, True), 1: (-15, True)}


def test_without_a_runner_it_ends_and_waits_for_nobody(spec: Spec) -> None:
    with agent() as driven:
        pids = driven.go(spec("import signal; signal.pause()"))
        assert driven.process.stdin is not None
        driven.process.stdin.close()
        assert driven.process.wait(PATIENCE) == 0
        for pid in pids:
            wait_gone(pid)


def test_a_console_that_takes_nothing_holds_up_no_worker(spec: Spec, tmp_path: Path) -> None:
    script = "import os; [os.write(1, b'x' * 99 + b'\\n') for _ in range(50_000)]"
    with agent() as driven:
        driven.tell(Begin(spec(script, log_dir=str(tmp_path / "logs"))))
        driven.until(CheckIn)
        driven.tell(Go("127.0.0.1", 1))
        message = driven.hear()
        while not isinstance(message, Finished):  # nothing is acknowledged
            message = driven.hear()
        driven.tell(Bye())
        assert driven.process.wait(PATIENCE) == 0
        assert driven.ends() == {0: (0, False), 1: (0, False)}
    for rank in (0, 1):
        assert (tmp_path / f"logs/rank000{rank}.out").stat().st_size == 5_000_000


def test_only_the_wanted_ranks_are_shown_and_all_are_logged(spec: Spec, tmp_path: Path) -> None:
    script = "import os; print('rank', os.environ['RANK'])"
    with agent() as driven:
        driven.go(spec(script, output="1", log_dir=str(tmp_path / "logs")))
        driven.over()
        assert driven.said() == "rank 1\n"
    assert (tmp_path / "logs/rank0000.out").read_text() == "rank 0\n"


def test_a_program_that_cannot_be_executed_after_all(spec: Spec, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.write_text("no program")
    data.chmod(0o755)
    with agent() as driven:
        driven.tell(Begin(spec(mode=EXEC, argv=("./data",))))
        assert driven.until(CheckIn).problem == ""
        driven.tell(Go("127.0.0.1", 1))
        exited = driven.until(Exited)
        assert (exited.rank, exited.status, exited.ended) == (0, 126, False)
        assert exited.kind is ExitKind.NOT_STARTED
        assert exited.words.startswith("not started: ")
        assert "Exec format error" in exited.words
        driven.over()


def test_the_way_to_the_master_is_tried(spec: Spec) -> None:
    with agent(1) as driven, socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        driven.tell(Begin(spec()))
        driven.until(CheckIn)
        driven.tell(TryMaster(("127.0.0.2", "127.0.0.1"), port))
        assert driven.until(MasterTried) == MasterTried("127.0.0.1")
        driven.tell(TryMaster(("127.0.0.2",), port))
        assert "Connection refused" in driven.until(MasterTried).problem
        driven.tell(End(0.0, "enough"))
        driven.over()


def test_what_does_not_fit_is_left_undone(spec: Spec) -> None:
    with agent() as driven:
        driven.tell(Go("x", 1))
        driven.tell(Bye())
        driven.tell(TryMaster(("x",), 1))
        driven.tell(OutputCredit(0))
        pids = driven.go(spec("import signal; signal.pause()"))
        driven.tell(Begin(spec()))
        driven.tell(Go("x", 1))
        driven.tell(Bye())
        driven.tell(End(0.0, "enough"))
        driven.over()
        assert [type(each) for each in driven.heard].count(Started) == 1
        assert len(driven.ends()) == len(pids)
