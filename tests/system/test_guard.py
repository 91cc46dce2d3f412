"""The guard, as the parent of real cores."""

from __future__ import annotations

import os
import signal
from subprocess import Popen

import pytest

from madrun.system.signals import ENDING, PASSED_ON, passed
from support.programs import (
    PATIENCE,
    line,
    program,
    status_of,
    wait_gone,
    wait_pending,
    wait_stopped,
    words,
)

HEAD = """
import os, signal, subprocess, sys, time
from madrun.system import guard
from madrun.system import kernel

def say(*words):
    os.write(1, (" ".join(str(word) for word in words) + chr(10)).encode())
"""
TAIL = """
sys.exit(guard.run_guarded(core, "madtest"))
"""


def guarded(core: str, before: str = "") -> str:
    """A program whose core has this body."""
    body = "".join(f"    {each}\n" for each in core.splitlines())
    return f"{HEAD}{before}\ndef core(guard_fd):\n{body}{TAIL}"


@pytest.mark.parametrize(
    ("core", "status"),
    [
        ("return 0", 0),
        ("return 7", 7),
        ("sys.exit(3)", 3),
        ("sys.exit()", 0),
        ("os._exit(9)", 9),
        ("raise RuntimeError('a bug')", 125),
        ("os.kill(os.getpid(), signal.SIGSEGV)", 125),
        ("os.kill(os.getpid(), signal.SIGRTMIN + 6); return 4", 4),
        ("os.kill(os.getpid(), signal.SIGTERM)", 143),
        ("os.kill(os.getpid(), signal.SIGINT); time.sleep(60)", 130),
    ],
)
def test_the_status_of_the_core_is_passed_on(core: str, status: int) -> None:
    assert status_of(guarded(core)) == status


def test_what_the_core_wrote_is_flushed() -> None:
    with program(guarded("print('last words', end='')\nreturn 0")) as process:
        assert process.communicate(timeout=PATIENCE)[0] == b"last words"


FAMILY = """
script = "import os, time; os.write(1, b'%d ' % os.getpid()); time.sleep(600)"
plain = [sys.executable, "-c", script]
subprocess.Popen(plain)
subprocess.Popen(plain, start_new_session=True)
subprocess.Popen([sys.executable, "-c", f"import os, subprocess, sys\\n"
                  f"subprocess.Popen({plain!r}, start_new_session=True, env={{}})\\nos._exit(0)"])
sys.stdin.readline()
"""


def family_of(process: Popen[bytes]) -> list[int]:
    """The process ids of a FAMILY, once all three run; its core then goes on."""
    assert process.stdout is not None
    assert process.stdin is not None
    said = b""
    while said.count(b" ") < 3:
        said += os.read(process.stdout.fileno(), 100)
    process.stdin.write(b"now\n")
    process.stdin.flush()
    return [int(pid) for pid in said.split()]


@pytest.mark.parametrize("ending", ["return 4", "os.kill(os.getpid(), signal.SIGKILL)"])
def test_nothing_the_core_started_outlives_it(ending: str) -> None:
    with program(guarded(FAMILY + ending)) as process:
        family = family_of(process)
        assert process.wait(PATIENCE) == (4 if "return" in ending else 125)
        for pid in family:
            wait_gone(pid)


def test_a_killed_core_is_told_of() -> None:
    core = "os.kill(os.getpid(), signal.SIGKILL)"
    with program(guarded(core), stderr=-1) as process:
        _out, said = process.communicate(timeout=PATIENCE)
    assert b"died of signal 9 (SIGKILL); everything it had started" in said


@pytest.mark.parametrize("killed", [(0, 2), (0, 1), (1, 2), (1,)], ids=str)
def test_any_two_of_guard_reaper_and_core_may_be_killed_at_once(killed: tuple[int, ...]) -> None:
    """The last of the three ends what the core had started."""
    core = "say(guard.guard_pid(), os.getppid(), os.getpid())\n" + FAMILY
    core = "kernel.become_subreaper()\n" + core + "select.select([guard_fd], [], [])\n"
    core += "while kernel.children():\n    kernel.kill_children()\n    os.waitpid(-1, 0)\n"
    with program(guarded(core, "import select")) as process:
        three = words(process)
        family = family_of(process)
        for which in killed:
            os.kill(three[which], signal.SIGKILL)
        if killed == (1,):  # the job goes on without a reaper, until it ends by itself
            os.kill(three[0], signal.SIGTERM)
        for pid in (*three, *family):
            wait_gone(pid)


def test_a_guard_that_is_killed_while_it_cleans_up_leaves_the_rest_to_the_reaper() -> None:
    """A tool kills it so, when the runner and the agent's core are killed together."""
    before = """
whole = guard.kill_children
def begun(spare=0):
    whole(spare)
    os.kill(os.getpid(), signal.SIGKILL)
guard.kill_children = begun
"""
    with program(guarded(FAMILY + "os.kill(os.getpid(), signal.SIGKILL)", before)) as process:
        family = family_of(process)
        for pid in family:
            wait_gone(pid)


def test_the_core_sees_that_its_guard_is_gone() -> None:
    core = """
import select
assert not select.select([guard_fd], [], [], 0)[0]
say(guard.guard_pid(), os.getpid())
select.select([guard_fd], [], [])
say("gone", os.read(guard_fd, 1) == b"")
"""
    with program(guarded(core)) as process:
        guard, core_pid = words(process)
        assert guard == process.pid
        os.kill(guard, signal.SIGKILL)
        assert line(process) == "gone True"
        wait_gone(core_pid)


def test_a_stopped_core_goes_on_when_its_guard_is_killed() -> None:
    """Stopped for good and without a guard, nobody would ever end what it had started."""
    core = """
import select
say(os.getpid())
select.select([guard_fd], [], [])
say("gone")
return 0
"""
    with program(guarded(core)) as process:
        pid = int(line(process))
        os.kill(pid, signal.SIGSTOP)
        wait_stopped(pid)
        process.kill()
        assert line(process) == "gone"
        wait_gone(pid)


def test_no_child_of_the_core_keeps_the_guards_pipe() -> None:
    core = """
subprocess.run(["sh", "-c", "cd /proc/self/fd; for fd in [3-9] [1-9]?; do readlink $fd; done"])
return 0
"""
    with program(guarded(core)) as process:
        assert "pipe:" not in process.communicate(timeout=PATIENCE)[0].decode()


FOLLOWS = """
from madrun.system.loop import Loop
from madrun.system.signals import follow_signals
loop, got = Loop(), []
def heard(number):
    got.append(int(number))
    if len(got) == COUNT:
        loop.stop()
follow_signals(loop, heard, heard)
say(os.getpid())
loop.run()
say(*got)
return 0
"""


@pytest.mark.parametrize("number", [*ENDING, *PASSED_ON])
def test_signals_reach_the_core(number: signal.Signals) -> None:
    with program(guarded(FOLLOWS.replace("COUNT", "1"))) as process:
        line(process)
        os.kill(process.pid, number)
        assert words(process) == [number]


def test_a_signal_to_the_whole_group_is_one_wish() -> None:
    with program(guarded(FOLLOWS.replace("COUNT", "2")), start_new_session=True) as process:
        line(process)
        os.killpg(process.pid, signal.SIGTERM)
        os.kill(process.pid, signal.SIGUSR1)
        # Of two that wait, the kernel gives the guard the lower number first.
        assert sorted(words(process)) == [signal.SIGUSR1, signal.SIGTERM]


@pytest.mark.parametrize("number", ENDING)
def test_a_core_that_waits_for_something_else_is_ended_with_it(number: signal.Signals) -> None:
    """A name look-up, an import: no handler of ours would run before it is done."""
    core = """
subprocess.Popen(["sleep", "600"], start_new_session=True)
say(os.getpid())
os.read(guard_fd, 1)
"""
    with program(guarded(core), stderr=-1) as process:
        (pid,) = words(process)
        process.send_signal(number)
        _out, said = process.communicate(timeout=PATIENCE)
        assert process.returncode == 128 + number
        assert said.decode() == f"madtest: stopped by {number.name}\n"
        wait_gone(pid)


def test_the_first_of_two_signals_is_the_cause_whichever_the_core_takes_first() -> None:
    """Of two that wait, the kernel takes the lower number first."""
    core = "say(os.getpid())\ntime.sleep(600)"
    with program(guarded(core, "guard._STOPPED_LIMIT = 600.0"), stderr=-1) as process:
        (pid,) = words(process)
        os.kill(pid, signal.SIGSTOP)
        wait_stopped(pid)
        for number in (signal.SIGQUIT, signal.SIGTERM):
            process.send_signal(number)
            wait_pending(pid, passed(number, by_parent=True))
        os.kill(pid, signal.SIGCONT)
        _out, said = process.communicate(timeout=PATIENCE)
    assert (process.returncode, said) == (131, b"madtest: stopped by SIGQUIT\n")


FAULTS = (signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT)
OTHERS = (
    signal.valid_signals()
    - {signal.SIGKILL, signal.SIGSTOP, signal.SIGTRAP, signal.SIGSYS}
    - {*ENDING, *(passed(each, way) for each in ENDING for way in (False, True)), *FAULTS}
)


def test_no_other_signal_ends_anything() -> None:
    core = "say(os.getpid())\nsys.stdin.readline()\nreturn 6"
    with program(guarded(core), start_new_session=True) as process:
        line(process)
        for number in sorted(OTHERS):
            os.killpg(process.pid, number)
        process.send_signal(signal.SIGCONT)
        process.communicate(b"go\n", timeout=PATIENCE)
        assert process.returncode == 6


@pytest.mark.parametrize("number", [*FAULTS, signal.SIGQUIT])
def test_the_guard_cleans_up_after_a_signal_that_ends_the_whole_group(
    number: signal.Signals,
) -> None:
    core = """
import resource
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
child = subprocess.Popen(["sleep", "600"], start_new_session=True)
say(os.getpid(), child.pid)
time.sleep(600)
"""
    with program(guarded(core), start_new_session=True) as process:
        pids = words(process)
        os.killpg(process.pid, number)
        assert process.wait(PATIENCE) == (131 if number == signal.SIGQUIT else 125)
        for pid in pids:
            wait_gone(pid)


def test_a_core_that_does_not_end_when_told_is_killed() -> None:
    core = """
from madrun.system.guard_notes import leave_note
leave_note("grace", "0.2")
signal.signal(passed(signal.SIGTERM, by_parent=True), lambda *_: None)
say(os.getpid())
time.sleep(600)
"""
    before = "from madrun.system.signals import passed\nguard._END_LIMIT = 0.1"
    with program(guarded(core, before), stderr=-1) as process:
        (pid,) = words(process)
        process.send_signal(signal.SIGTERM)
        _out, said = process.communicate(timeout=PATIENCE)
        assert process.returncode == 143
        assert f"its process {pid} did not end after SIGTERM and was killed" in said.decode()


def test_the_core_has_the_signal_mask_it_would_have_without() -> None:
    core = "say(sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])))\nreturn 0"
    with program(guarded(core)) as process:
        assert line(process) == "[]"


def test_a_core_that_stays_stopped_is_killed() -> None:
    core = "say(os.getpid())\ntime.sleep(600)"
    with program(guarded(core, "guard._STOPPED_LIMIT = 0.3")) as process:
        os.kill(words(process)[0], signal.SIGSTOP)
        assert process.wait(PATIENCE) == 125


def test_a_core_that_goes_on_in_time_lives() -> None:
    core = "say(os.getpid())\nsys.stdin.readline()\nreturn 6"
    with program(guarded(core, "guard._STOPPED_LIMIT = 60.0")) as process:
        (pid,) = words(process)
        os.kill(pid, signal.SIGSTOP)
        wait_stopped(pid)
        os.kill(pid, signal.SIGCONT)
        assert process.communicate(b"go\n", timeout=PATIENCE)
        assert process.returncode == 6


def test_a_bystander_of_the_same_command_line_is_left_alone() -> None:
    words_of_it = "import sys; sys.stdin.readline(); sys.exit(5)"
    core = f"""
subprocess.Popen([sys.executable, "-c", {words_of_it!r}])
os.kill(os.getpid(), signal.SIGKILL)
"""
    with program(words_of_it) as bystander:
        assert status_of(guarded(core)) == 125
        bystander.communicate(b"go\n", timeout=PATIENCE)
        assert bystander.returncode == 5
