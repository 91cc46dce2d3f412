"""The calls of Linux that Python does not offer."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pytest

from madrun.system import kernel
from madrun.system.kernel import children, command_of
from support.programs import PATIENCE, line, program, wait_gone, words

SLEEP = [sys.executable, "-c", "import time; time.sleep(600)"]


def test_children_are_ours_and_no_grandchildren() -> None:
    script = (
        f"import subprocess; p = subprocess.Popen({SLEEP!r}); print(p.pid, flush=True); p.wait()"
    )
    with program(script) as child:
        (grandchild,) = words(child)
        assert child.pid in children()
        assert grandchild not in children()
        os.kill(grandchild, signal.SIGKILL)
        child.wait(PATIENCE)
    assert child.pid not in children()


def test_children_of_other_threads_count() -> None:
    started: list[subprocess.Popen[bytes]] = []
    done = threading.Event()

    def fork_and_stay() -> None:
        started.append(subprocess.Popen(SLEEP))
        ready.set()
        done.wait(PATIENCE)

    ready = threading.Event()
    thread = threading.Thread(target=fork_and_stay)
    thread.start()
    ready.wait(PATIENCE)
    try:
        assert started[0].pid in children()
    finally:
        done.set()
        thread.join()
        started[0].kill()
        started[0].wait()


def test_a_leader_of_a_group_is_killed_with_its_group() -> None:
    """srun's second process would have Slurm kill the agents' guards."""
    script = """
import os, subprocess, sys
from madrun.system import kernel
heir = "import os; os.write(1, b'up '); os.read(0, 1); os.write(1, b'mourns')"
tool = f"import subprocess, sys, time; pipe = subprocess.PIPE\\n" \\
       f"subprocess.Popen([sys.executable, '-c', {heir!r}], stdin=pipe); time.sleep(600)"
subprocess.Popen([sys.executable, "-c", tool], start_new_session=True)
sys.stdin.readline()
kernel.kill_children()
"""
    with program(script) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.read(3) == b"up "
        process.stdin.write(b"now\n")
        process.stdin.flush()
        assert process.stdout.read() == b""


def test_a_subreaper_adopts_a_daemon() -> None:
    script = f"""
import os, subprocess
from madrun.system import kernel
kernel.become_subreaper()
daemon = f"import subprocess; subprocess.Popen({SLEEP!r}, start_new_session=True)"
subprocess.run([{sys.executable!r}, "-c", daemon])
adopted = kernel.children()
print(len(adopted))
kernel.kill_children(spare=adopted[0])
print(os.waitpid(-1, os.WNOHANG))
kernel.kill_children()
print(os.waitstatus_to_exitcode(os.waitpid(-1, 0)[1]))
"""
    with program(script) as process:
        assert [line(process) for _ in range(3)] == ["1", "(0, 0)", "-9"]


def test_to_kill_nobody_is_fine() -> None:
    with program(
        "from madrun.system import kernel; kernel.kill_children(); print('ok')"
    ) as process:
        assert line(process) == "ok"


PARENT = """
import os, signal, sys, time
from madrun.system import kernel
parent = os.getpid()
child = os.fork()
if child == 0:
    kernel.die_with_parent({parent}, signal.SIGTERM)
    os.write(1, b"alive\\n")
    time.sleep(600)
os.write(1, b"%d\\n" % child)
{wait}
"""


def test_a_child_dies_with_its_parent() -> None:
    with program(PARENT.format(parent="parent", wait="time.sleep(600)")) as process:
        said = {line(process), line(process)}
        process.kill()
        wait_gone(int((said - {"alive"}).pop()))


def test_a_parent_that_is_gone_already_is_noticed() -> None:
    script = PARENT.format(parent="1 + parent", wait="print(os.waitpid(child, 0)[1])")
    with program(script) as process:
        line(process)
        assert line(process) == str(int(signal.SIGTERM))


def test_what_the_kernel_refuses_is_an_error() -> None:
    with pytest.raises(OSError, match="prctl"):
        kernel.die_with_parent(os.getppid(), 4711)


def test_a_process_for_a_message() -> None:
    with program("import sys; print('up', flush=True); sys.stdin.read()") as process:
        assert line(process) == "up"  # before, it may still be on its way through exec
        said = command_of(process.pid)
        assert said.startswith(f"pid {process.pid} (state ")
        assert f"uid {os.getuid()}" in said
        assert sys.executable in said
    assert command_of(process.pid) == f"pid {process.pid}"
