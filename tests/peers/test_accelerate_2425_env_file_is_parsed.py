"""accelerate #2425, #2565: a blank line, a comment or a long value in the file was a crash."""

from __future__ import annotations

from pathlib import Path

from support.here import refused, shown

TEXT = """
# a comment, then a blank line

export A=1
B="two
lines"  # and a note
"""


def test_what_people_write_is_understood(tmp_path: Path) -> None:
    (tmp_path / "env").write_text(TEXT)
    words = ["--env-file", "env", "--no-python", "sh", "-c", 'echo "$A, $B"']
    assert shown(*words, cwd=tmp_path) == sorted(["1, two", "lines"])


def test_what_nobody_understands_has_a_line(tmp_path: Path) -> None:
    (tmp_path / "env").write_text("A=1\n\nwhat is this\n")
    assert "env:3: there is no = in it" in refused("--env-file", "env", cwd=tmp_path)
