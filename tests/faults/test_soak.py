"""A short run of scripts/soak; the long one is run on request."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence

import pytest

from support.cluster import REPOSITORY

pytestmark = pytest.mark.hosts


SOME = ("--rounds", "8", "--ways", "ssh,pdsh,mpich,local")
# Rounds of the long run that went wrong: an agent that was hit before its first word, after which
# Slurm ended the others; and two signals, the first of which a shell's & had made us ignore.
ONCE_WRONG = ("2102/50", "3001/189", "3003/79", "3003/278")


@pytest.mark.parametrize(
    "words", [SOME, [f"--round={name}" for name in ONCE_WRONG]], ids=["some", "once wrong"]
)
def test_random_faults_leave_nothing_and_are_told_as_they_are(words: Sequence[str]) -> None:
    done = subprocess.run(
        [sys.executable, REPOSITORY / "scripts" / "soak", *words],
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
