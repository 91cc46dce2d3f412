"""DeepSpeed #267, #3967, #4523, #4716: seven rounds of quoting the user's arguments."""

from __future__ import annotations

import sys

from support.here import madrun

HOSTILE = ["a b", "it's", '"x"', "$HOME", "*", "#", ";", "(x)", "\\", "", "%h %n", "--x=a b", "\n"]


def test_arguments_arrive_as_they_are() -> None:
    """On other hosts: tests/hosts/test_job.py."""
    show = "import sys; print(ascii(sys.argv[1:]))"
    done = madrun("--no-prefix", "--no-python", sys.executable, "-c", show, *HOSTILE)
    assert done.stdout == f"{HOSTILE!a}\n", done.stderr
