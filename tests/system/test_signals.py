"""Which signals are wishes, and what a worker starts with."""

from __future__ import annotations

import signal

import pytest

from madrun.system.signals import ENDING, Wishes, passed, sent_as

TERM, INT = signal.SIGTERM, signal.SIGINT


@pytest.mark.parametrize(
    ("arrivals", "new"),
    [
        ([(TERM, 0.0)], 1),
        ([(TERM, 0.0), (TERM, 0.05)], 1),
        ([(TERM, 0.0), (TERM, 0.7)], 2),
        ([(TERM, 0.0), (passed(TERM), 0.3)], 1),
        ([(passed(TERM), 0.0), (TERM, 0.3)], 1),
        ([(TERM, 0.0), (passed(TERM), 0.3), (TERM, 0.7), (passed(TERM), 1.1)], 2),
        ([(passed(TERM), 0.0), (TERM, 0.1), (passed(TERM), 0.7), (TERM, 0.8)], 2),
        ([(TERM, 0.0), (INT, 0.0)], 2),
        ([(INT, 0.0), (signal.SIGHUP, 9.0), (signal.SIGQUIT, 10.0)], 3),
        ([(passed(INT), 0.0), (passed(INT), 5.0)], 2),
    ],
)
def test_wishes_and_their_echoes(arrivals: list[tuple[int, float]], new: int) -> None:
    wishes = Wishes()
    assert [wishes.is_new(number, at) for number, at in arrivals].count(True) == new


def test_what_a_guard_passes_on_is_told_apart_from_the_signal_itself() -> None:
    numbers = {passed(number, by_parent) for number in ENDING for by_parent in (False, True)}
    assert len(numbers) == 2 * len(ENDING)
    assert not numbers & {int(number) for number in ENDING}
    assert [sent_as(passed(number)) for number in ENDING] == [*ENDING]
    assert [sent_as(passed(number, by_parent=True)) for number in ENDING] == [*ENDING]
