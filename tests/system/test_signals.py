"""When a signal is a second wish."""

from __future__ import annotations

import signal

import pytest

from madrun.system.signals import is_second_wish


@pytest.mark.parametrize(
    ("number", "since", "second"),
    [
        (signal.SIGINT, 0.0, False),
        (signal.SIGINT, 0.05, False),
        (signal.SIGINT, 0.5, True),
        (signal.SIGINT, 100.0, True),
        (signal.SIGTERM, 0.5, False),
        (signal.SIGHUP, 0.5, False),
    ],
)
def test_is_second_wish(number: int, since: float, second: bool) -> None:
    assert is_second_wish(number, since) is second
