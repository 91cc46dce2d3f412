"""The loop: timers, posted calls, signals, descriptors."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from functools import partial

import pytest

from madrun.system.loop import Loop


@pytest.fixture
def loop() -> Iterator[Loop]:
    made = Loop()
    yield made
    made.close()


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for fd in ends:
        os.close(fd)


def test_timers_run_in_the_order_of_their_times(loop: Loop) -> None:
    seen: list[str] = []
    loop.call_later(0.03, loop.stop)
    loop.call_later(0.02, lambda: seen.append("late"))
    loop.call_later(0.0, lambda: seen.append("now"))
    loop.run()
    assert seen == ["now", "late"]


def test_a_cancelled_timer_does_not_run(loop: Loop) -> None:
    seen: list[str] = []
    timer = loop.call_later(0.01, lambda: seen.append("cancelled"))
    loop.call_later(0.0, timer.cancel)
    loop.call_later(0.02, loop.stop)
    loop.run()
    assert seen == []


def test_a_timer_may_be_cancelled_twice_and_after_it_ran(loop: Loop) -> None:
    timer = loop.call_later(0.0, loop.stop)
    loop.run()
    timer.cancel()
    timer.cancel()


def test_every_post_of_every_thread_arrives_in_its_order(loop: Loop) -> None:
    seen: list[tuple[int, int]] = []

    def post_many(name: int) -> None:
        for count in range(500):
            loop.post(partial(seen.append, (name, count)))
        loop.post(partial(done, name))

    def done(name: int) -> None:
        ended.append(name)
        if len(ended) == 3:
            loop.stop()

    ended: list[int] = []
    threads = [threading.Thread(target=post_many, args=(name,)) for name in range(3)]
    for thread in threads:
        thread.start()
    loop.run()
    for thread in threads:
        thread.join()
    for name in range(3):
        assert [count for who, count in seen if who == name] == list(range(500))


def test_more_posts_than_a_pipe_holds(loop: Loop) -> None:
    seen: list[int] = []
    for number in range(70_000):
        loop.post(partial(seen.append, number))
    loop.post(loop.stop)
    loop.run()
    assert len(seen) == 70_000


def test_one_who_posts_himself_starves_neither_timer_nor_descriptor(
    loop: Loop, pipe: tuple[int, int]
) -> None:
    def again() -> None:
        loop.post(again)

    def readable() -> None:
        os.read(pipe[0], 1)
        loop.call_later(0.0, loop.stop)

    loop.watch(pipe[0], readable)
    os.write(pipe[1], b"x")
    loop.post(again)
    loop.run()


def test_nothing_runs_after_stop(loop: Loop) -> None:
    seen: list[str] = []
    loop.post(loop.stop)
    loop.post(lambda: seen.append("posted"))
    loop.call_later(0.0, lambda: seen.append("timer"))
    loop.run()
    assert seen == []


def test_a_loop_can_run_again(loop: Loop) -> None:
    seen: list[int] = []
    for run in range(2):
        loop.post(lambda run=run: seen.append(run))  # type: ignore[misc]
        loop.post(loop.stop)
        loop.run()
    assert seen == [0, 1]


def test_watch_calls_back_at_data_and_at_the_end(loop: Loop) -> None:
    read, write = os.pipe()
    seen: list[bytes] = []

    def readable() -> None:
        seen.append(os.read(read, 10))
        if seen[-1]:
            os.close(write)
        else:
            loop.unwatch(read)
            loop.stop()

    loop.watch(read, readable)
    os.write(write, b"data")
    loop.run()
    os.close(read)
    assert seen == [b"data", b""]


def test_unwatched_means_forgotten_at_once(loop: Loop, pipe: tuple[int, int]) -> None:
    """Also where both were found readable by the same look."""
    other = os.pipe()
    watched = {pipe[0], other[0]}
    called: list[int] = []

    def forget_the_other(fd: int) -> None:
        called.append(fd)
        os.read(fd, 1)
        for each in watched - {fd}:
            loop.unwatch(each)
        watched.intersection_update({fd})
        loop.call_later(0.01, loop.stop)

    for read, write in (pipe, other):
        os.write(write, b"x")
        loop.watch(read, partial(forget_the_other, read))
    loop.run()
    for fd in other:
        os.close(fd)
    assert len(called) == 1


def test_every_signal_calls_back_on_the_loop(loop: Loop) -> None:
    seen: list[int] = []

    def got(number: int) -> None:
        seen.append(number)
        if number == signal.SIGUSR2:
            loop.stop()
        else:
            os.kill(os.getpid(), signal.SIGUSR2)

    loop.on_signal(signal.SIGUSR1, got)
    loop.on_signal(signal.SIGUSR2, got)
    loop.call_later(0.0, lambda: os.kill(os.getpid(), signal.SIGUSR1))
    loop.run()
    assert seen == [signal.SIGUSR1, signal.SIGUSR2]


def test_a_signal_wakes_a_loop_that_waits_for_nothing_else(loop: Loop) -> None:
    loop.on_signal(signal.SIGUSR1, lambda _number: loop.stop())
    os.kill(os.getpid(), signal.SIGUSR1)
    loop.run()


def test_the_last_callback_for_a_signal_counts(loop: Loop) -> None:
    seen: list[str] = []
    loop.on_signal(signal.SIGUSR1, lambda _number: seen.append("first"))
    loop.on_signal(signal.SIGUSR1, lambda _number: loop.stop())
    os.kill(os.getpid(), signal.SIGUSR1)
    loop.run()
    assert seen == []


def test_close_gives_handlers_and_wakeup_back() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGUSR1, signal.SIGTERM)]
    loop = Loop()
    loop.on_signal(signal.SIGUSR1, lambda _number: None)
    loop.on_signal(signal.SIGUSR1, lambda _number: None)
    loop.on_signal(signal.SIGTERM, lambda _number: None)
    loop.close()
    assert [signal.getsignal(number) for number in (signal.SIGUSR1, signal.SIGTERM)] == before
    assert signal.set_wakeup_fd(-1) == -1


def test_a_post_after_close_touches_nobody_elses_descriptor() -> None:
    """A thread may be late; the numbers of the loop's pipe are others' by then."""
    loop = Loop()
    loop.close()
    read, write = os.pipe2(os.O_NONBLOCK)
    copies = [write, *(os.dup(write) for _ in range(8))]
    loop.post(lambda: None)
    for fd in copies:
        os.close(fd)
    assert os.read(read, 10) == b""
    os.close(read)
