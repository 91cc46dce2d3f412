"""A short run of scripts/soak; the long one is run on request."""

from __future__ import annotations

import subprocess
import sys

import pytest

from support.cluster import REPOSITORY

pytestmark = pytest.mark.hosts


def test_a_few_random_faults_leave_nothing() -> None:
    done = subprocess.run(
        [
            sys.executable,
            REPOSITORY / "scripts" / "soak",
            "--rounds",
            "8",
            "--ways",
            "ssh,pdsh,mpich,local",
        ],
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_bench_of_faults_runs() -> None:
    words = ["--hosts", "2", "--runs", "1", "--faults", "worker,agent", "--launchers", "madrun"]
    done = subprocess.run(
        [sys.executable, REPOSITORY / "scripts" / "bench-faults", *words],
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "agent SIGKILLed: its workers gone" in done.stdout
