"""Exit statuses, in numbers and words."""

from __future__ import annotations

import pytest

from madrun.system.exits import FAILED, exit_status, exit_words


@pytest.mark.parametrize(
    ("status", "shell", "words"),
    [
        (0, 0, "exited with status 0"),
        (1, 1, "exited with status 1"),
        (255, 255, "exited with status 255"),
        (-1, 129, "died of signal 1 (SIGHUP)"),
        (-9, 137, "died of signal 9 (SIGKILL)"),
        (-11, 139, "died of signal 11 (SIGSEGV)"),
        (-40, 168, "died of signal 40"),
    ],
)
def test_statuses(status: int, shell: int, words: str) -> None:
    assert exit_status(status) == shell
    assert exit_words(status) == words


def test_our_own_failure() -> None:
    assert FAILED == 125
