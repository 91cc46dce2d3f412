"""The limit of open files is raised for us, and not for what we start."""

from __future__ import annotations

import resource
import subprocess
import sys

from support.cluster import BIN

SHOW = "import resource; print(*resource.getrlimit(resource.RLIMIT_NOFILE))"
HARD = resource.getrlimit(resource.RLIMIT_NOFILE)[1]


def limited(soft: int, *argv: str) -> str:
    """What a program prints that is started with this soft limit."""
    words = ["prlimit", f"--nofile={soft}:{HARD}", *argv]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_soft_limit_becomes_the_hard_one_and_children_have_the_old_one() -> None:
    code = (
        "import os, subprocess, sys; from madrun.system.open_files import *; raise_limit();"
        f"exec({SHOW!r}, {{}}); sys.stdout.flush();"
        "child = subprocess.Popen(['sleep', '60']); give_back_limit(child.pid);"
        "import resource; print(*resource.prlimit(child.pid, resource.RLIMIT_NOFILE)); child.kill()"
    )
    ours, childs = limited(128, sys.executable, "-c", code).splitlines()
    assert ours == f"{min(HARD, 1 << 20)} {HARD}"
    assert childs == f"128 {HARD}"


def test_workers_have_the_limit_that_the_user_had() -> None:
    argv = [str(BIN / "madrun"), "--nproc-per-node", "1", "--no-prefix", "--no-python"]
    assert limited(200, *argv, sys.executable, "-c", SHOW) == f"200 {HARD}"
