"""DeepSpeed #618, #1722, accelerate #4277: a failure, above all a signal, became exit 0."""

from __future__ import annotations

import subprocess

import pytest

from support.cluster import BIN
from support.here import environment

ENDS = [("exit 7", 7), ("kill -KILL $$", 137), ("kill -SEGV $$", 139), ("exit 255", 255)]


@pytest.mark.parametrize(("script", "status"), ENDS)
@pytest.mark.parametrize("command", ["madrun", "madagent"])
def test_the_workers_end_is_ours(command: str, script: str, status: int) -> None:
    done = subprocess.run(
        [BIN / command, "--hosts", "localhost", "--no-python", "sh", "-c", script],
        env=environment(),
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == status
