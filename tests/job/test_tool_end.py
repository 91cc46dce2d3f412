"""A tool that has started all agents, and ends: as it should, too early, or in the launch."""

from __future__ import annotations

import signal

from madrun.job.outcome import outcome_of
from madrun.job.states import JobState
from madrun.record.event import OutcomeKind
from madrun.wire.messages import Interrupted
from support.histories import History, told_kinds

DIED = "pdsh died of signal 9 (SIGKILL)"


def test_after_its_agents_it_means_nothing() -> None:
    history = History(agents_leave=True).running()
    for rank in range(6):
        history.exited(rank, 0)
    history.finished(*history.everybody)
    assert history.state() is not JobState.OVER, "their processes are still to end"
    history.machine.tool_ended("mpirun exited with status 0", history.now)
    assert history.state() is JobState.OVER
    assert outcome_of(history.machine).status == 0


def test_before_its_agents_it_ends_the_job_and_they_are_waited_for() -> None:
    history = History(agents_leave=True).running()
    actions = history.machine.tool_ended(DIED, history.now)
    assert told_kinds(actions) == [(0, "End"), (1, "End"), (2, "End")]
    assert history.state() is JobState.ENDING
    for rank in range(6):
        history.exited(rank, -15, ended=True)
    history.finished(0, 1)
    history.machine.gone(2, "no word from its agent for 5 s", history.now - 30)
    assert history.state() is JobState.OVER
    outcome = outcome_of(history.machine)
    assert (outcome.status, outcome.kind) == (125, OutcomeKind.TOOL)
    assert f"madrun: {DIED}\n" in outcome.report
    assert "ranks 0-5" in outcome.report


def test_what_failed_before_stays_the_cause() -> None:
    history = History().running()
    history.exited(3, 7)
    history.machine.tool_ended(DIED, history.now + 1)
    history.finished(*history.everybody)
    assert outcome_of(history.machine).status == 7


def test_in_the_launch_it_is_the_reason_of_all_that_have_not_come() -> None:
    history = History()
    history.greeted(0)
    history.machine.tool_ended("mpirun exited with status 1: no room", history.now)
    history.able(0)
    history.finished(0)
    assert history.state() is JobState.OVER
    problems = [(each.node_rank, each.reason) for each in history.machine.problems]
    assert problems == [(rank, "mpirun exited with status 1: no room") for rank in (1, 2)]


def test_in_the_launch_a_host_with_a_reason_of_its_own_is_the_reason() -> None:
    history = History()
    history.machine.lost(1, "unreachable: No route to host", history.now)
    history.machine.tool_ended("mpirun exited with status 1", history.now)
    assert history.state() is JobState.OVER
    assert [each.node_rank for each in history.machine.problems] == [1]
    assert outcome_of(history.machine).status == 125


def test_an_agent_whose_guard_was_killed_is_a_loss_and_still_ends_its_own() -> None:
    history = History(agents_leave=True).running()
    actions = history.hears(1, Interrupted(signal.SIGKILL))
    assert told_kinds(actions) == [(0, "End"), (1, "End"), (2, "End")]
    history.hears(0, Interrupted(signal.SIGTERM))  # what mpirun makes of it, a moment later
    history.finished(0, 1)
    assert history.state() is JobState.ENDING
    history.finished(2)
    history.machine.tool_ended("mpirun exited with status 137", history.now)
    outcome = outcome_of(history.machine)
    assert (outcome.status, outcome.kind) == (125, OutcomeKind.HOST)
    assert "host node1 was lost" in outcome.report
    assert "guard was killed" in outcome.report


def test_so_it_is_in_the_launch() -> None:
    history = History()
    history.greeted()
    history.hears(1, Interrupted(signal.SIGKILL))
    history.able(0, 2)
    history.finished(*history.everybody)
    assert [each.node_rank for each in history.machine.problems] == [1]


def test_a_killed_tool_is_the_cause_of_what_it_took_along() -> None:
    history = History().running()
    killed = history.now
    for node in history.everybody:
        history.hears(node, Interrupted(signal.SIGKILL))
    history.finished(*history.everybody)
    history.machine.tool_ended(DIED, killed)
    assert history.state() is JobState.OVER
    assert outcome_of(history.machine).kind is OutcomeKind.TOOL
