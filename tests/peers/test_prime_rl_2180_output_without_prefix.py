"""prime-rl PR #2180: code to strip the launcher's prefix; torchx #405: lines broken or lost."""

from __future__ import annotations

from support.here import madrun


def test_the_output_as_it_was_written() -> None:
    script = r"""printf 'a  b\t\033[1mc\033[0m\n\n  {"loss": 1}\nno line end' """
    done = madrun("--no-prefix", "--no-python", "sh", "-c", script)
    assert done.stdout == 'a  b\t\033[1mc\033[0m\n\n  {"loss": 1}\nno line end\n'
