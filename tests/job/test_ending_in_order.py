"""Servers are ended in their order, on all nodes step by step; a client's success is the job's."""

from __future__ import annotations

import signal

import pytest

from madrun.job.outcome import outcome_of
from madrun.job.states import JobState
from madrun.record.event import OutcomeKind
from madrun.wire.messages import LAST, CheckIn, Concluded, Drained, End, Exited, Go, Interrupted
from support.histories import GRACE, History, told


def serving(nodes: int = 3) -> History:
    return History(nodes=nodes, launcher="sglang").running()


def ends(history: History, reason: str, upto: int, grace: float = GRACE) -> list[tuple[int, End]]:
    first = (
        signal.SIGINT if history.machine.causes.first_signal == signal.SIGINT else signal.SIGTERM
    )
    return [(node, End(grace, reason, upto, first)) for node in history.everybody]


def test_every_node_learns_all_addresses_and_ports() -> None:
    history = History(nodes=2, launcher="sglang")
    history.greeted()
    history.hears(0, CheckIn(port=29500, ports=(30000,)))
    history.hears(1, CheckIn(ports=(30001, 8998)))
    go = Go("10.0.0.0", 29500, ("10.0.0.0", "10.0.0.1"), ((30000,), (30001, 8998)))
    assert told(history.tried(1)) == [(0, go), (1, go)]


def test_one_node_is_known_by_its_own_address() -> None:
    history = History(nodes=1, launcher="sglang")
    history.greeted()
    go = Go("127.0.0.1", 29500, ("10.0.0.0",), ((30000,),))
    assert told(history.hears(0, CheckIn(port=29500, ports=(30000,)))) == [(0, go)]


def test_step_by_step() -> None:
    history = serving()
    assert told(history.machine.stop(signal.SIGINT, 500.0)) == ends(history, "signal 2", 0)
    assert history.hears(0, Drained(1)) == history.hears(1, Drained(2)) == []
    done = "the step before is done"
    assert told(history.hears(2, Drained(2))) == ends(history, done, 1)
    assert [history.hears(node, Drained(2)) for node in (2, 1)] == [[], []]
    assert told(history.hears(0, Drained(LAST))) == ends(history, done, 2)
    history.finished(0, 1, 2)
    assert history.state() is JobState.OVER
    assert outcome_of(history.machine).status == 130


def test_a_node_that_has_finished_is_not_waited_for() -> None:
    history = serving(nodes=2)
    history.machine.stop(signal.SIGTERM, 500.0)
    history.hears(1, Drained(3))
    assert (1, End(GRACE, "the step before is done", 3)) in told(history.finished(0))


def test_a_loss_on_the_way_ends_all_that_is_left() -> None:
    history = serving(nodes=2)
    history.machine.stop(signal.SIGTERM, 500.0)
    actions = told(history.machine.gone(1, "the agent ended", 501.0))
    assert actions == [(0, End(GRACE, "node1 is lost", LAST))]
    history.finished(0)
    assert outcome_of(history.machine).status == 143


def test_a_second_signal_waits_for_no_order() -> None:
    history = serving(nodes=2)
    history.machine.stop(signal.SIGINT, 500.0)
    actions = told(history.machine.stop(signal.SIGINT, 501.5))
    assert actions == ends(history, "a second signal", LAST, grace=0.0)


def test_what_several_agents_tell_is_one_signal_until_one_had_two() -> None:
    history = serving(nodes=2)
    history.hears(0, Interrupted(signal.SIGTERM))
    assert history.hears(1, Interrupted(signal.SIGTERM)) == []
    actions = told(history.hears(1, Interrupted(signal.SIGTERM, at_once=True)))
    assert actions == ends(history, "a second signal", LAST, grace=0.0)


def test_a_failure_knows_no_order() -> None:
    history = serving(nodes=2)
    actions = told(history.hears(0, Exited(0, 1, 1, 1.0, False)))
    assert [each.upto for _, each in actions if isinstance(each, End)] == [LAST, LAST]


def test_trainings_end_all_at_once() -> None:
    history = History(nodes=2).running()
    assert told(history.machine.stop(signal.SIGINT, 500.0)) == ends(history, "signal 2", LAST)


def concluded() -> History:
    history = serving(nodes=2)
    history.hears(0, Exited(0, 1, 0, 500.0, False), at=500.0)
    actions = told(history.hears(0, Concluded(0, 500.0), at=500.0))
    assert actions == ends(history, "the client is done", 0)
    return history


def test_the_clients_success_is_the_jobs() -> None:
    history = concluded()
    history.hears(1, Exited(1, 1, -15, 501.0, ended=True), at=501.0)
    history.finished(0, 1)
    outcome = outcome_of(history.machine)
    assert (outcome.status, outcome.report, outcome.kind) == (0, "", OutcomeKind.SUCCESS)


@pytest.mark.parametrize(("at", "status"), [(499.0, 3), (501.0, 0)])
def test_a_server_that_fails_before_the_client_is_done_is_the_cause(at: float, status: int) -> None:
    history = concluded()
    history.hears(1, Exited(1, 1, 3, at, ended=False), at=at)
    history.finished(0, 1)
    assert outcome_of(history.machine).status == status


def test_a_client_is_no_excuse_for_what_is_left_behind() -> None:
    history = concluded()
    history.finished(0)
    history.machine.give_up()
    assert outcome_of(history.machine).status == 125


def test_without_a_client_servers_never_end_well() -> None:
    history = serving(nodes=2)
    history.finished(0, 1)
    assert outcome_of(history.machine).status == 125
