"""The verdict: what came first is the cause."""

from __future__ import annotations

import signal

import pytest

from madrun.job.outcome import outcome_of
from madrun.record.event import OutcomeKind
from madrun.wire.messages import CheckIn, Finished, Interrupted
from support.histories import History


def over(history: History) -> History:
    """All that can still be heard have finished."""
    for node, host in enumerate(f"node{n}" for n in history.everybody):
        if host in history.machine.unfinished():
            history.finished(node)
    return history


def status_of(history: History) -> int:
    return outcome_of(history.machine).status


def test_all_went_well() -> None:
    history = History().running()
    for rank in range(6):
        history.exited(rank, 0)
    outcome = outcome_of(over(history).machine)
    assert (outcome.status, outcome.report) == (0, "")


def test_a_stop_while_hosts_connect_blames_nobody() -> None:
    history = History()
    history.key(0)
    history.machine.lost(1, "connection refused", 102.0)
    history.machine.stop(signal.SIGINT, 103.0)
    outcome = outcome_of(over(history).machine)
    assert (outcome.status, outcome.kind) == (130, OutcomeKind.SIGNAL)
    assert "connection refused" not in outcome.report


@pytest.mark.parametrize(
    ("status", "shell"), [(1, 1), (255, 255), (-9, 137), (-11, 139), (126, 126), (127, 127)]
)
def test_the_status_is_that_of_the_failure(status: int, shell: int) -> None:
    history = History().running()
    history.exited(3, status)
    history.exited(0, -15, ended=True)
    outcome = outcome_of(over(history).machine)
    assert (outcome.status, outcome.rank, outcome.kind) == (shell, 3, OutcomeKind.WORKER)
    assert outcome.report.startswith("madrun: rank 3 on node1 failed first: ")
    assert outcome.report.endswith("madrun: ended because of it: rank 0")


def test_the_first_by_time_not_by_arrival() -> None:
    history = History().running()
    history.exited(0, 4, at=500.2)
    history.exited(5, 7, at=500.1)
    outcome = outcome_of(over(history).machine)
    assert outcome.status == 7
    assert "rank 5 on node2 failed first" in outcome.report
    assert "failed after it: rank 0 on node0 (exited with status 4)" in outcome.report


def test_one_that_was_told_to_stop_is_never_the_cause() -> None:
    history = History().running()
    history.exited(0, -15, at=499.0, ended=True)
    history.exited(5, 7, at=500.0)
    assert status_of(over(history)) == 7


def test_remarks_on_what_is_left_are_not_the_cause() -> None:
    history = History().running()
    history.hears(0, Finished(("pid 7 dd",)))
    history.machine.gone(1, "the agent ended", 500.0)
    history.finished(2)
    outcome = outcome_of(history.machine)
    assert outcome.report.startswith("madrun: could not be ended on node0: pid 7 dd")
    assert outcome.cause.startswith("host node1 was lost at ")
    assert (outcome.kind, outcome.rank) == (OutcomeKind.HOST, None)


def test_the_runners_own_guard_is_told_as_what_it_is() -> None:
    history = History().running()
    history.machine.guard_gone(500.0)
    history.exited(1, -15, at=500.1, ended=True)
    outcome = outcome_of(over(history).machine)
    assert (outcome.status, outcome.kind) == (125, OutcomeKind.GUARD)
    assert outcome.cause == "the guard of the runner was killed"


def test_a_signal_that_came_before_the_guard_was_killed_is_the_cause() -> None:
    history = History().running()
    history.machine.stop(signal.SIGINT, 499.0)
    history.machine.guard_gone(500.0)
    outcome = outcome_of(over(history).machine)
    assert (outcome.status, outcome.kind) == (130, OutcomeKind.SIGNAL)


def test_a_loss_comes_before_the_failures_it_causes() -> None:
    history = History().running()
    history.exited(0, 1, at=503.0)
    history.machine.gone(1, "no word from its agent for 5 s", 500.0)
    history.finished(0, 2)
    outcome = outcome_of(history.machine)
    assert outcome.status == 125
    assert "madrun: host node1 was lost at " in outcome.report
    assert "no word from its agent for 5 s" in outcome.report


def test_a_failure_comes_before_the_loss_it_causes() -> None:
    history = History().running()
    history.exited(2, 9, at=500.0)
    history.machine.gone(1, "the agent ended", 501.0)
    history.finished(0, 2)
    outcome = outcome_of(history.machine)
    assert outcome.status == 9
    assert "not heard of at the end: node1" in outcome.report


def test_the_first_of_two_losses() -> None:
    history = History().running()
    history.machine.gone(1, "late", 500.0)
    history.machine.gone(2, "early", 499.0)
    history.finished(0)
    assert "host node2 was lost" in outcome_of(history.machine).report


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_stopped_by_a_signal(number: signal.Signals, status: int) -> None:
    history = History().running()
    history.machine.stop(number, 500.0)
    history.exited(1, -15, at=500.1, ended=True)
    history.exited(0, 1, at=500.2)
    outcome = outcome_of(over(history).machine)
    assert outcome.status == status
    assert outcome.report.startswith(f"madrun: stopped by {number.name}")
    assert "ended because of it: rank 1" in outcome.report


def test_stopped_after_a_failure_is_the_failure() -> None:
    history = History().running()
    history.exited(0, 3, at=499.0)
    history.machine.stop(signal.SIGINT, 500.0)
    assert status_of(over(history)) == 3


def test_stopped_although_all_workers_ended_well() -> None:
    history = History(nodes=1).running()
    history.machine.stop(signal.SIGTERM, 500.0)
    history.exited(0, 0, at=501.0, ended=True)
    assert status_of(over(history)) == 143


def test_stopped_by_way_of_an_agent() -> None:
    history = History().running()
    history.hears(2, Interrupted(signal.SIGTERM))
    assert status_of(over(history)) == 143


def test_stopped_before_anybody_came_says_nothing_of_what_is_left_there() -> None:
    history = History(nodes=2)
    history.machine.stop(signal.SIGINT, 500.0)
    outcome = outcome_of(history.machine)
    assert outcome.status == 130
    assert outcome.report == "madrun: stopped by SIGINT"


def test_a_launch_that_failed_names_each_host_and_its_reason() -> None:
    history = History(nodes=3)
    history.machine.lost(2, "auth refused", 1.0)
    history.greeted(0, 1)
    history.hears(0, CheckIn("working directory /x is not there", 125))
    history.able(1)
    outcome = outcome_of(over(history).machine)
    assert outcome.status == 125
    assert outcome.report.splitlines() == [
        "madrun: the job was not started: 2 of 3 hosts cannot run it",
        "    node0  working directory /x is not there",
        "    node2  auth refused",
    ]


@pytest.mark.parametrize(
    ("statuses", "status"), [((127, 127), 127), ((126, 126), 126), ((127, 126), 125)]
)
def test_what_all_hosts_agree_on(statuses: tuple[int, int], status: int) -> None:
    history = History(nodes=2)
    history.greeted()
    for node, each in enumerate(statuses):
        history.hears(node, CheckIn("script is not found", each))
    assert status_of(over(history)) == status


def test_processes_that_could_not_be_ended() -> None:
    history = History(nodes=1).running()
    for rank in (0, 1):
        history.exited(rank, 0)
    history.hears(0, Finished(("pid 7 (state D, uid 0) dd",)))
    outcome = outcome_of(history.machine)
    assert outcome.status == 125
    assert "could not be ended on node0: pid 7 (state D, uid 0) dd" in outcome.report


def test_a_job_whose_agents_say_nothing_more_did_not_end_well() -> None:
    history = History(nodes=2).running()
    history.machine.give_up()
    outcome = outcome_of(history.machine)
    assert outcome.status == 125
    assert "node0, node1" in outcome.report
