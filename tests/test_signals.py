"""Signals at madrun on this machine, at every moment, and its exit status then."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

from madrun.system.signals import ENDING
from support.cluster import BIN
from support.jobs import WORKER

MADRUN = BIN / "madrun"


def clean_environment() -> dict[str, str]:
    """Ours, without what would choose hosts, devices or an environment file."""
    hidden = ("MADRUN_HOSTFILE", "CUDA_VISIBLE_DEVICES", "DS_ENV_FILE")
    return {key: value for key, value in os.environ.items() if key not in hidden}


REDIRECTIONS = [">&-", "2>&-", ">&- 2>&-", "<&-", "<&- >&- 2>&-", ">/dev/full", ">/dev/full 2>&1"]


@pytest.mark.parametrize("status", [0, 7])
@pytest.mark.parametrize("where", REDIRECTIONS)
def test_an_exit_status_does_not_depend_on_where_the_output_goes(where: str, status: int) -> None:
    words = f"exec {MADRUN} --no-python sh -c 'echo hello; exit {status}' {where}"
    done = subprocess.run(
        ["sh", "-c", words],
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, "Traceback" in done.stderr) == (status, False)


def wait_for_our_first_line(pid: int) -> None:
    """Until madrun holds its signals; before that the interpreter has them. Only /proc knows.

    A guard that waits for signals does not show them as blocked; it has a child by then.
    """
    proc, seen = Path(f"/proc/{pid}"), ""
    while not seen.strip("0"):
        lines = (proc / "status").read_text().splitlines()
        seen = next(line.split()[1] for line in lines if line.startswith("SigBlk"))
        seen += (proc / "task" / str(pid) / "children").read_text()


@pytest.mark.parametrize("number", ENDING)
def test_a_signal_at_any_moment_of_the_start_ends_the_job(number: signal.Signals) -> None:
    """At random moments, the first line of our code and a running job included."""
    moments = random.Random(int(number))
    for _ in range(6):
        job = subprocess.Popen(
            [MADRUN, "--nproc-per-node", "2", "--grace", "1", WORKER, "hold", "daemons"],
            env=clean_environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        wait_for_our_first_line(job.pid)
        time.sleep(moments.choice([0.0, moments.uniform(0, 0.1), moments.uniform(0, 0.6)]))
        job.send_signal(number)
        said = job.communicate(timeout=60)[1]
        assert job.returncode == 128 + number, said
        assert "\nTraceback" not in f"\n{said}", "a worker's own has a prefix"
        assert said.count(f"stopped by {number.name}") == 1, said


def test_usr1_at_any_moment_of_the_start_ends_nothing() -> None:
    moments = random.Random(10)
    for _ in range(6):
        job = subprocess.Popen(
            [MADRUN, "--no-python", "sleep", "0.3"],
            env=clean_environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        wait_for_our_first_line(job.pid)
        time.sleep(moments.choice([0.0, moments.uniform(0, 0.1), moments.uniform(0, 0.6)]))
        job.send_signal(moments.choice([signal.SIGUSR1, signal.SIGUSR2]))
        assert job.communicate(timeout=60)[1].count("\n") == 1  # about the CPU
        assert job.returncode == 0


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_a_second_signal_of_any_kind_kills_at_once(second: signal.Signals) -> None:
    stubborn = "trap '' TERM INT HUP; echo up; while :; do sleep 600; done"
    job = subprocess.Popen(
        [MADRUN, "--grace", "600", "--no-python", "sh", "-c", stubborn],
        env=clean_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert job.stdout is not None
    assert "up" in job.stdout.readline()
    job.send_signal(signal.SIGTERM)
    time.sleep(0.7)  # what is closer may be one wish that came by two ways
    job.send_signal(second)
    assert "stopped by SIGTERM" in job.communicate(timeout=60)[1]
    assert job.returncode == 143


@pytest.mark.slow
@pytest.mark.parametrize("stream", ["out", "err"])
def test_a_log_file_that_hangs_does_not_keep_a_job_alive(tmp_path: Path, stream: str) -> None:
    """A full FIFO, as a file server that does not answer would be."""
    path = tmp_path / f"rank0000.{stream}"
    os.mkfifo(path)
    nobody = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    redirect = ">&2" if stream == "err" else ""
    words = ["--no-python", "sh", "-c", f"seq 1000000 {redirect}; touch {tmp_path}/up; sleep 600"]
    job = subprocess.Popen(
        [MADRUN, "--log-dir", tmp_path, "--grace", "1", *words],
        env=clean_environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    while not (tmp_path / "up").exists():  # it writes on although nobody reads its log
        time.sleep(0.05)
    job.send_signal(signal.SIGINT)
    said = job.communicate(timeout=60)[1].decode()
    os.close(nobody)
    assert job.returncode == 130
    assert f"{path} is incomplete: " in said


def test_after_ctrl_c_python_cleans_up_and_the_stubborn_are_named(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text("""
import os, signal, sys, time
if os.environ["RANK"] == "1":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("up", flush=True)
try:
    time.sleep(600)
except KeyboardInterrupt:
    print("cleaned up", flush=True)
""")
    job = subprocess.Popen(
        [MADRUN, "--nproc-per-node", "2", "--grace", "4", script],
        env=clean_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert job.stdout is not None
    assert all("up" in job.stdout.readline() for _ in range(2))
    job.send_signal(signal.SIGINT)
    out, said = job.communicate(timeout=60)
    assert out == "[localhost:0] cleaned up\n"
    assert "madrun: ending: waiting for rank 1 on localhost; Ctrl-C again kills\n" in said
    assert said.endswith("""madrun: stopped by SIGINT
madrun: ended because of it: ranks 0-1
madrun: ended by SIGKILL: rank 1 on localhost
""")
    assert job.returncode == 130
