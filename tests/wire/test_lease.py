"""The lease, and how two clocks are compared."""

from __future__ import annotations

import pytest

from madrun.wire.lease import ClockOffset, Lease


def test_every_word_renews() -> None:
    lease = Lease(5.0, now=100.0)
    assert [lease.renew(now) for now in (104.9, 109.8, 114.7)] == [True] * 3
    assert not lease.expired(119.7)
    assert lease.expired(119.8)


def test_a_late_word_renews_nothing_for_good() -> None:
    lease = Lease(5.0, now=0.0)
    assert not lease.renew(5.1)
    assert lease.expired(0.0), "not even a clock that is set back brings it to life"
    assert not lease.renew(1.0)


def test_to_the_end_is_not_beyond_it() -> None:
    assert Lease(5.0, now=0.0).renew(5.0)


def test_shortened_it_runs_out_earlier_but_never_later() -> None:
    lease = Lease(5.0, now=0.0)
    lease.shorten(1.0, 0.5)
    lease.shorten(1.0, 60.0)
    assert not lease.expired(1.5)
    assert lease.expired(1.6)


def test_a_word_makes_up_for_a_broken_connection() -> None:
    lease = Lease(5.0, now=0.0)
    lease.shorten(1.0, 0.5)
    assert lease.renew(1.4)
    assert not lease.expired(6.4)


def test_another_timeout_counts_from_the_next_word() -> None:
    lease = Lease(60.0, now=0.0)
    lease.timeout = 1.0
    assert lease.renew(10.0)
    assert lease.expired(11.1)


@pytest.mark.parametrize("ahead", [-1e6, 0.0, 12.5])
def test_the_offset_is_known_to_half_a_round_trip(ahead: float) -> None:
    clock = ClockOffset()
    clock.sample(asked=10.0, theirs=10.3 + ahead, now=10.4)
    assert clock.to_ours(50.0 + ahead) == pytest.approx(50.0, abs=0.2)


def test_only_the_quickest_exchange_counts() -> None:
    clock = ClockOffset()
    clock.sample(asked=0.0, theirs=105.0, now=10.0)
    clock.sample(asked=20.0, theirs=120.1, now=20.2)
    clock.sample(asked=30.0, theirs=139.0, now=39.0)
    assert clock.offset == pytest.approx(100.0)


def test_an_answer_from_before_the_question_is_none() -> None:
    clock = ClockOffset()
    clock.sample(asked=10.0, theirs=0.0, now=9.0)
    assert (clock.offset, clock.to_ours(7.0)) == (0.0, 7.0)
