"""The life of a job: histories of events through the real transition function."""

from __future__ import annotations

import signal

import pytest

from madrun.job.states import Admit, JobState
from madrun.system.signals import ENDING
from madrun.wire.messages import (
    Begin,
    Bye,
    CheckIn,
    End,
    Exited,
    Finished,
    Go,
    Hello,
    Interrupted,
    MasterTried,
    Message,
    Started,
    TryMaster,
)
from support.histories import GRACE, KEY, History, told, told_kinds

HELLO = Hello(0, "node0", 1)


def reasons(history: History) -> list[tuple[int, str]]:
    return [(each.node_rank, each.reason) for each in history.machine.problems]


def test_a_job_that_goes_well() -> None:
    history = History(nodes=2)
    machine = history.machine
    assert history.key(0) == [Admit(0, KEY)]
    assert told(history.hears(0, HELLO)) == [(0, Begin(machine.spec))]
    assert told_kinds(history.greeted(1)) == [(1, "Begin")]
    assert history.state() is JobState.CONNECTING
    assert told(history.able()) == [(1, TryMaster(("10.0.0.0", "fd00::0"), 29500))]
    assert history.state() is JobState.TRYING
    go = Go("fd00::0", 29500)
    assert told(history.tried(address="fd00::0")) == [(0, go), (1, go)]
    assert history.state() is JobState.STARTING
    assert [history.hears(node, Started((1, 2))) for node in (0, 1)] == [[], []]
    assert (history.state(), machine.launching) == (JobState.RUNNING, False)
    assert [history.exited(rank, 0) for rank in range(4)] == [[]] * 4
    assert told(history.finished(1)) == [(1, Bye())]
    assert machine.unfinished() == ["node0"]
    assert told(history.finished(0)) == [(0, Bye())]
    assert (history.state(), machine.unfinished()) == (JobState.OVER, [])


def test_it_is_over_when_the_agents_have_left_too() -> None:
    history = History(nodes=1, agents_leave=True)
    history.running()
    history.finished(0)
    assert history.state() is not JobState.OVER
    assert history.machine.leaving
    history.machine.gone(0, "ended", history.now)
    assert history.state() is JobState.OVER
    assert not history.machine.causes.losses


def test_one_node_needs_no_way_to_its_master() -> None:
    history = History(nodes=1)
    history.greeted()
    assert told(history.able()) == [(0, Go("127.0.0.1", 29500))]
    assert history.state() is JobState.STARTING
    history.hears(0, Started((1,)))
    assert history.state() is JobState.RUNNING


@pytest.mark.parametrize("nodes", [1, 2])
def test_a_given_master_address_is_what_all_get(nodes: int) -> None:
    history = History(nodes=nodes, master_addr="boss")
    history.greeted()
    actions = history.able()
    if nodes > 1:
        assert told(actions) == [(1, TryMaster(("boss",), 29500))]
        actions = history.tried(address="boss")
    assert told(actions) == [(node, Go("boss", 29500)) for node in range(nodes)]


def test_nobody_starts_before_everybody_is_able() -> None:
    history = History(nodes=3)
    history.greeted()
    assert history.able(0, 2) == []
    assert history.machine.missing() == ["node1"]
    assert told_kinds(history.able(1)) == [(1, "TryMaster"), (2, "TryMaster")]
    assert history.tried(2) == []
    assert history.machine.missing() == ["node1"]


def test_one_that_never_comes_is_named_and_nobody_starts() -> None:
    history = History(nodes=4)
    history.greeted(0, 2)
    history.key(3)
    history.able(0)
    actions = history.machine.time_is_up(60.0, 200.0)
    assert reasons(history) == [
        (1, "has not been reached within 60 s"),
        (2, "has not checked in within 60 s"),
        (3, "was reached, but its agent does not answer within 60 s"),
    ]
    assert (0, End(0.0, "the launch failed")) in told(actions)
    assert not [each for each in told_kinds(actions) if each[1] == "Go"]
    assert history.state() is JobState.ENDING
    history.finished(0)
    assert history.state() is JobState.OVER


def test_one_that_does_not_answer_about_the_master_is_named_rightly() -> None:
    history = History(nodes=3)
    history.greeted()
    history.able()
    history.tried(1)
    history.machine.time_is_up(60.0, 200.0)
    reason = "has not said whether it reaches the master within 60 s"
    assert reasons(history) == [(2, reason)]


def test_all_problems_are_collected_before_it_ends() -> None:
    history = History(nodes=3)
    assert history.machine.lost(1, "auth refused", 1.0) == []
    assert history.state() is JobState.CONNECTING
    history.greeted(0, 2)
    problem = CheckIn(problem="no such folder", status=125)
    assert history.hears(0, problem) == []
    assert told(history.able(2)) == [
        (0, End(0.0, "the launch failed")),
        (2, End(0.0, "the launch failed")),
    ]
    assert reasons(history) == [(1, "auth refused"), (0, "no such folder")]
    assert history.state() is JobState.ENDING


def test_when_nobody_can_be_reached_it_is_over_at_once() -> None:
    history = History(nodes=2)
    history.machine.lost(0, "no route", 1.0)
    assert history.state() is JobState.CONNECTING
    assert history.machine.lost(1, "no route", 2.0) == []
    assert history.state() is JobState.OVER


def test_a_problem_is_counted_once_per_node() -> None:
    history = History(nodes=2)
    history.machine.lost(0, "no route", 1.0)
    assert history.machine.gone(0, "ssh ended", 1.5) == []
    assert reasons(history) == [(0, "no route")]


def test_another_version_is_not_let_in() -> None:
    history = History(nodes=2)
    assert history.key(0, version="0.9") == []
    assert reasons(history) == [(0, "madrun 0.9 is installed there, 1.0 here")]
    assert history.key(0) == [], "nor does a second key help"


def test_only_the_first_key_of_a_node_counts() -> None:
    history = History(nodes=2)
    history.key(0)
    assert history.key(0) == []


def test_a_node_without_devices_among_others_is_broken() -> None:
    history = History(nodes=3)
    history.greeted()
    history.able(0, 2, devices=8)
    actions = history.able(1, devices=0)
    assert reasons(history) == [(1, "too few GPUs: none is there, but node0 has 8")]
    assert told(actions) == [(node, End(0.0, "the launch failed")) for node in range(3)]
    history.finished(0, 1, 2)
    assert history.state() is JobState.OVER


@pytest.mark.parametrize("counts", [(0, 0), (4, 8)])
def test_none_at_all_or_unequal_counts_are_fine(counts: tuple[int, int]) -> None:
    history = History(nodes=2)
    history.greeted()
    for node, devices in enumerate(counts):
        history.able(node, devices=devices)
    assert history.state() is JobState.TRYING


def test_a_master_that_one_cannot_reach() -> None:
    history = History(nodes=3)
    history.greeted()
    history.able()
    history.tried(2)
    actions = history.hears(1, MasterTried("", "10.0.0.0:29500: No route to host"))
    assert reasons(history) == [
        (1, "cannot reach the master on node0: 10.0.0.0:29500: No route to host")
    ]
    assert {node for node, message in told(actions) if isinstance(message, End)} == {0, 1, 2}
    assert history.state() is JobState.ENDING


def test_each_gets_the_address_by_which_it_reached_the_master() -> None:
    history = History(nodes=3)
    history.greeted()
    history.able()
    history.tried(1, address="10.0.0.0")
    actions = history.tried(2, address="fd00::0")
    assert told(actions) == [
        (0, Go("10.0.0.0", 29500)),
        (1, Go("10.0.0.0", 29500)),
        (2, Go("fd00::0", 29500)),
    ]


@pytest.mark.parametrize("status", [1, -9, 127])
def test_a_failure_ends_all_nodes(status: int) -> None:
    history = History().running()
    actions = history.exited(2, status)
    assert told(actions) == [(node, End(GRACE, "rank 2 failed")) for node in range(3)]
    assert history.exited(3, 1) == [], "once is enough"
    assert history.exited(0, -15, ended=True) == []
    assert [end.exited.rank for end in history.machine.ends] == [2, 3, 0]


def test_a_failure_while_others_still_start_ends_them_too() -> None:
    history = History(nodes=2)
    history.greeted()
    history.able()
    history.tried()
    history.hears(0, Started((1, 2)))
    assert told_kinds(history.exited(0, 1)) == [(0, "End"), (1, "End")]
    history.hears(1, Started((1, 2)))
    assert history.state() is JobState.ENDING


def test_one_who_finished_early_is_not_told_again() -> None:
    history = History(nodes=2).running()
    history.exited(0, 0)
    history.exited(1, 0)
    history.finished(0)
    assert told_kinds(history.exited(2, 1)) == [(1, "End")]


def test_a_lost_node_ends_the_others_and_is_not_waited_for() -> None:
    history = History().running()
    actions = history.machine.gone(1, "no word", 200.0)
    assert told(actions) == [(node, End(GRACE, "node1 is lost")) for node in (0, 2)]
    assert [(each.node_rank, each.at) for each in history.machine.causes.losses] == [(1, 200.0)]
    assert history.machine.gone(1, "again", 201.0) == []
    history.finished(0, 2)
    assert history.state() is JobState.OVER
    assert history.machine.unfinished() == ["node1"]


def test_the_last_node_lost_is_the_end() -> None:
    history = History(nodes=1).running()
    history.machine.gone(0, "no word", 200.0)
    assert history.state() is JobState.OVER


def test_going_after_finished_is_no_loss() -> None:
    history = History(nodes=2).running()
    history.finished(0)
    history.machine.gone(0, "ended", 200.0)
    assert not history.machine.causes.losses
    assert history.state() is JobState.RUNNING


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_all(number: signal.Signals) -> None:
    history = History().running()
    actions = history.machine.stop(number, 200.0)
    first = signal.SIGINT if number == signal.SIGINT else signal.SIGTERM
    reason = f"signal {int(number)}"
    assert told(actions) == [(node, End(GRACE, reason, first=first)) for node in range(3)]
    assert (history.machine.causes.stopped_by, history.machine.causes.stopped_at) == (number, 200.0)


@pytest.mark.parametrize("second", ENDING)
def test_a_second_signal_ends_at_once_and_a_third_changes_nothing(second: signal.Signals) -> None:
    history = History().running()
    history.machine.stop(signal.SIGTERM, 200.0)
    actions = history.machine.stop(second, 201.0)
    assert told(actions) == [(node, End(0.0, "a second signal")) for node in range(3)]
    assert history.machine.stop(signal.SIGINT, 202.0) == []
    assert history.machine.causes.stopped_at == 200.0


def test_a_signal_told_by_an_agent_ends_all() -> None:
    history = History().running()
    assert told_kinds(history.hears(1, Interrupted(signal.SIGTERM))) == [
        (0, "End"), (1, "End"), (2, "End"),
    ]  # fmt: skip
    assert list(history.machine.causes.interruptions) == [1]


def test_one_who_comes_when_it_is_ending_is_sent_away() -> None:
    history = History(nodes=2)
    history.greeted(0)
    history.key(1)
    assert told_kinds(history.machine.stop(signal.SIGINT, 200.0)) == [(0, "End")]
    assert told(history.hears(1, HELLO)) == [(1, End(0.0, "the job is ending"))]
    history.finished(0)
    assert history.state() is JobState.ENDING, "node1 has something to end as well"
    history.finished(1)
    assert history.state() is JobState.OVER


def test_a_signal_before_anybody_came_is_the_end() -> None:
    history = History()
    assert history.machine.stop(signal.SIGINT, 200.0) == []
    assert history.state() is JobState.OVER


def test_what_could_not_be_ended_is_kept() -> None:
    history = History(nodes=1).running()
    history.hears(0, Finished(("pid 7 (state D)",)))
    assert history.machine.left == {0: ("pid 7 (state D)",)}


def test_to_give_up_is_to_be_over() -> None:
    history = History().running()
    history.exited(0, 1)
    history.finished(2)
    history.machine.give_up()
    assert history.state() is JobState.OVER
    assert history.machine.unfinished() == ["node0", "node1"]


UPWARD: list[Message] = [
    HELLO,
    CheckIn(problem="late", status=2),
    CheckIn(devices=3),
    MasterTried("x"),
    MasterTried("", "no"),
    Started((1,)),
]


def snapshot(history: History) -> object:
    machine = history.machine
    return (
        history.state(),
        tuple(machine.problems),
        tuple(machine.causes.losses),
        tuple(machine.missing()),
        tuple(machine.unfinished()),
    )


@pytest.mark.parametrize("message", UPWARD, ids=repr)
def test_what_does_not_fit_a_running_job_does_nothing(message: Message) -> None:
    history = History().running()
    before = snapshot(history)
    assert history.hears(1, message) == []
    assert snapshot(history) == before


@pytest.mark.parametrize("message", [*UPWARD[1:]], ids=repr)
def test_nor_does_what_comes_before_a_hello(message: Message) -> None:
    history = History(nodes=2)
    history.key(1)
    before = snapshot(history)
    assert history.hears(1, message) == []
    assert snapshot(history) == before
    assert told_kinds(history.hears(1, HELLO)) == [(1, "Begin")], "and it can still begin"


@pytest.mark.parametrize("message", UPWARD, ids=repr)
def test_one_that_is_lost_stays_lost(message: Message) -> None:
    history = History(nodes=2).running()
    history.machine.gone(1, "no word", 200.0)
    history.hears(1, message)
    history.finished(0)
    assert history.state() is JobState.OVER


@pytest.mark.parametrize("message", UPWARD, ids=repr)
def test_one_that_has_finished_stays_so(message: Message) -> None:
    history = History(nodes=2).running()
    history.finished(1)
    history.hears(1, message)
    assert history.machine.unfinished() == ["node0"]


def test_what_only_a_runner_says_means_nothing_from_an_agent() -> None:
    history = History().running()
    before = snapshot(history)
    for message in (Bye(), Go("x", 1), Begin(history.machine.spec)):
        assert history.hears(0, message) == []
    assert snapshot(history) == before


def test_a_worker_that_ends_well_while_all_end_changes_nothing() -> None:
    history = History().running()
    history.exited(0, 1)
    assert history.hears(1, Exited(2, 1, 0, 1.0, ended=True)) == []
    assert history.state() is JobState.ENDING
