"""The end of everything a job runs on a node, in a subreaper of its own."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from support.programs import PATIENCE, Program, is_alive, line, program, wait_gone, words

# A small agent: starts a program, says GO once that is ready, ends all at the first line of stdin
# (its number is the grace) and says how it went. More lines are further wishes.
AGENT = """
import os, signal, subprocess, sys, time
from madrun.agent.tree import Ending, reaped
from madrun.system.kernel import become_subreaper
from madrun.system.loop import Loop

def say(*words):
    os.write(1, (" ".join(str(word) for word in words) + chr(10)).encode())

def done(left):
    say("over", ending.over, len(left))
    loop.stop()

def reap():
    for pid, status in reaped():
        if pid == first.pid:
            say("worker", status)
    if ending_began:
        ending.check()

def wish():
    for word in os.read(0, 100).split():
        ending_began.append(1)
        ending.begin(float(word), int(sys.argv[2]))

become_subreaper()
loop, ending_began = Loop(), []
ending = Ending(loop, done)
loop.on_signal(signal.SIGCHLD, lambda _number: reap())
loop.watch(0, wish)
first = subprocess.Popen([sys.executable, "-c", sys.argv[1]], stdin=subprocess.DEVNULL)
loop.run()
"""
WORKER = """
import os, signal, subprocess, sys, time
def say(*words):
    os.write(1, (" ".join(str(word) for word in words) + chr(10)).encode())
def wait():
    while True:
        signal.pause()
def on_term(*_):
    say("saved", name)
    os._exit(0)
name = "worker"
"""


@contextmanager
def agent(worker: str, first: int = signal.SIGTERM) -> Iterator[Program]:
    with program(AGENT, WORKER + worker, str(int(first))) as process:
        yield process


def wish(process: Program, grace: float) -> None:
    assert process.stdin is not None
    process.stdin.write(b"%f " % grace)
    process.stdin.flush()


def rest(process: Program) -> set[str]:
    """What it says until it has ended."""
    assert process.stdout is not None
    said = process.stdout.read().decode().splitlines()
    assert process.wait(PATIENCE) == 0
    return set(said)


def test_nothing_there_is_over_at_once() -> None:
    with agent("say('ready')") as process:
        assert {line(process), line(process)} == {"ready", "worker 0"}
        wish(process, 60.0)
        assert rest(process) == {"over True 0"}


def test_term_reaches_grandchildren_too_and_they_have_time_to_save() -> None:
    family = """
signal.signal(signal.SIGTERM, on_term)
if os.fork() == 0:
    name = "child"
    if os.fork() == 0:
        name = "grandchild"
        os.setsid()
say("ready")
wait()
"""
    with agent(family) as process:
        assert [line(process) for _ in range(3)] == ["ready"] * 3
        wish(process, 60.0)
        said = rest(process)
        assert {"saved worker", "saved child", "saved grandchild"} <= said
        assert {"worker 0", "over True 0"} <= said


STUBBORN = """
signal.signal(signal.SIGTERM, lambda *_: say("no"))
say(os.getpid())
wait()
"""


def test_one_that_ignores_term_is_killed_after_the_grace() -> None:
    with agent(STUBBORN) as process:
        (pid,) = words(process)
        wish(process, 0.3)
        assert line(process) == "no"
        assert is_alive(pid)
        assert rest(process) == {"worker -9", "over True 0"}


def test_sigint_comes_first_where_it_is_told_and_python_cleans_up() -> None:
    patient = """
try:
    say("ready")
    wait()
except KeyboardInterrupt:
    say("interrupted")
finally:
    say("cleaned up")
"""
    with agent(patient, signal.SIGINT) as process:
        line(process)
        wish(process, 3600.0)
        assert rest(process) == {"interrupted", "cleaned up", "worker 0", "over True 0"}


def test_sigint_then_term_then_kill_within_one_grace() -> None:
    stubborn = """
for each in (signal.SIGINT, signal.SIGTERM):
    signal.signal(each, lambda number, _: say(number))
say("ready")
wait()
"""
    with agent(stubborn, signal.SIGINT) as process:
        line(process)
        wish(process, 1.5)
        assert [line(process) for _ in range(4)] == ["2", "15", "worker -9", "over True 0"]


def test_no_grace_is_no_term() -> None:
    with agent(STUBBORN) as process:
        line(process)
        wish(process, 0.0)
        assert rest(process) == {"worker -9", "over True 0"}


def test_a_shorter_grace_may_follow_and_a_longer_one_changes_nothing() -> None:
    with agent(STUBBORN) as process:
        line(process)
        wish(process, 3600.0)
        assert line(process) == "no"
        wish(process, 7200.0)
        wish(process, 0.0)
        assert rest(process) == {"worker -9", "over True 0"}


def test_daemons_are_ended_too() -> None:
    daemon = """
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.closerange(3, 100)
        os.environ.clear()
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.chdir("/")
        say(os.getpid())
        wait()
    os._exit(0)
os.wait()
"""
    with agent(daemon) as process:
        said = {line(process), line(process)}
        assert "worker 0" in said
        (pid,) = said - {"worker 0"}
        wish(process, 0.2)
        assert rest(process) == {"over True 0"}
        wait_gone(int(pid))


def test_one_that_is_forked_just_as_the_end_begins_has_time_to_save_as_well() -> None:
    late = """
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
say("ready")
signal.sigwait([signal.SIGTERM])
if os.fork() == 0:
    signal.sigwait([signal.SIGTERM])
    say("saved latecomer")
"""
    with agent(late) as process:
        assert line(process) == "ready"
        wish(process, 3600.0)
        assert {"worker 0", "saved latecomer", "over True 0"} == rest(process)


def test_stopped_processes_are_ended() -> None:
    stopped = """
signal.signal(signal.SIGTERM, on_term)
if os.fork() == 0:
    name = "child"
    say("ready")
    os.kill(os.getpid(), signal.SIGSTOP)
    wait()
os.waitid(os.P_ALL, 0, os.WSTOPPED | os.WNOWAIT)
say("ready")
os.kill(os.getpid(), signal.SIGSTOP)
wait()
"""
    with agent(stopped) as process:
        assert [line(process) for _ in range(2)] == ["ready"] * 2
        wish(process, 60.0)
        assert {"saved worker", "saved child", "worker 0", "over True 0"} == rest(process)


@pytest.mark.slow
@pytest.mark.parametrize("pause", ["0", "0.001"])
def test_one_that_keeps_forking_cannot_get_away(pause: str) -> None:
    hopper = f"""
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.fork() == 0:
    os.setsid()
    say("ready")
    while True:
        if os.fork():
            os._exit(0)
        time.sleep({pause})
os._exit(0)
"""
    with agent(hopper) as process:
        assert {line(process), line(process)} == {"worker 0", "ready"}
        wish(process, 0.1)
        assert rest(process) == {"over True 0"}


@pytest.mark.slow
def test_a_growing_family_cannot_either() -> None:
    bush = """
signal.signal(signal.SIGTERM, signal.SIG_IGN)
say("ready")
for _ in range(7):
    os.fork()
while True:
    try:
        if os.fork() == 0:
            os.setsid()
            time.sleep(0.02)
            os._exit(0)
        os.wait()
    except OSError:
        pass
"""
    with agent(bush) as process:
        assert line(process) == "ready"
        wish(process, 0.1)
        assert rest(process) == {"worker -9", "over True 0"}


def test_a_bystander_of_the_same_command_line_is_left_alone() -> None:
    worker = "say('ready')\nwait()"
    with agent(worker) as process, program(WORKER + worker) as bystander:
        assert (line(process), line(bystander)) == ("ready", "ready")
        assert process.args[0] == bystander.args[0] == sys.executable  # type: ignore[index]
        wish(process, 0.0)
        assert rest(process) == {"worker -9", "over True 0"}
        bystander.send_signal(signal.SIGUSR1)
        assert bystander.wait(PATIENCE) == -signal.SIGUSR1
