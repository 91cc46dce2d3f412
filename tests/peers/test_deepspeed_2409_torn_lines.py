"""DeepSpeed #2409: workers shared one pipe, and their lines were torn (``ARGVARGV [...]``)."""

from __future__ import annotations

import re
import sys

from support.here import madrun

TORN = """
import os
for _ in range(50):
    for piece in (os.environ["RANK"] + "x" * 3000, "y" * 3000, "\\n"):
        os.write(1, piece.encode())
"""


def test_lines_come_whole_and_with_their_rank() -> None:
    done = madrun("--nproc-per-node", "4", "--no-python", sys.executable, "-c", TORN)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    whole = [re.fullmatch(r"\[localhost:(\d)\] \1x{3000}y{3000}", line) for line in lines]
    assert sorted(found[1] for found in whole if found) == sorted("0123" * 50)
    assert all(whole)
