"""A tool that has started all agents, and ends: as it should, too early, or in the launch."""

from __future__ import annotations

import signal

import pytest

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


def interrupted(*nodes: int) -> History:
    """A job under a tool; its agents on these nodes were sent SIGTERM; all have ended and left."""
    history = History(agents_leave=True).running()
    history.machine.tool_started()
    for node in nodes:
        history.hears(node, Interrupted(signal.SIGTERM))
    return history


def left(history: History, *but: int) -> History:
    """All agents have ended and left, except some."""
    for node in set(history.everybody) - set(but):
        history.finished(node)
        history.machine.gone(node, "the agent ended with status 0", history.now)
    return history


def told_of(history: History) -> tuple[int, OutcomeKind, str]:
    assert history.state() is JobState.OVER
    outcome = outcome_of(history.machine)
    return outcome.status, outcome.kind, outcome.cause


def test_a_tool_that_is_told_to_end_tells_its_agents_first_and_is_the_cause() -> None:
    history = left(interrupted(2, 0, 1))
    assert history.state() is not JobState.OVER, "the tool's end says whose wish it was"
    history.machine.tool_ended("mpirun exited with status 143", history.now + 1, well=False)
    assert told_of(history) == (125, OutcomeKind.TOOL, "mpirun exited with status 143")


def test_a_tool_that_kills_what_it_has_told_is_the_cause_too() -> None:
    history = interrupted(0, 1, 2)
    for node in history.everybody:
        history.hears(node, Interrupted(signal.SIGKILL))
    left(history).machine.tool_ended(DIED, history.now + 1, well=False)
    assert told_of(history) == (125, OutcomeKind.TOOL, DIED)


@pytest.mark.parametrize("carries", [False, True])
def test_a_tool_that_has_signalled_its_agents_and_ends_well_is_asked_whose_signals_it_sends(
    carries: bool,
) -> None:
    """mpiexec.hydra ends with status 0 when it was told to end; scancel's signals go by Slurm."""
    history = History(agents_leave=True).running()
    history.machine.tool_started(carries)
    for node in history.everybody:
        history.hears(node, Interrupted(signal.SIGTERM, by_parent=True))
    left(history).machine.tool_ended("mpiexec.hydra exited with status 0", history.now, well=True)
    kind = OutcomeKind.SIGNAL if carries else OutcomeKind.TOOL
    assert told_of(history)[:2] == (143 if carries else 125, kind)


@pytest.mark.parametrize("nodes", [(1,), (1, 2)])
def test_a_signal_to_an_agent_is_told_with_its_host_where_the_tool_ends_well(
    nodes: tuple[int, ...],
) -> None:
    history = left(interrupted(*nodes))
    history.machine.tool_ended("srun exited with status 0", history.now + 1, well=True)
    where = "agent on node1" if nodes == (1,) else "agents on node[1-2]"
    cause = f"stopped by SIGTERM, sent to the {where}"
    assert told_of(history) == (143, OutcomeKind.SIGNAL, cause)


@pytest.mark.parametrize("first", [True, False], ids=["at once", "later than the others' signal"])
def test_an_agents_guard_is_the_cause_of_what_the_tool_sends_the_others(first: bool) -> None:
    """Slurm ends all tasks when one has died; which agent's word comes first is chance."""
    history = interrupted(*(() if first else (0, 2)))
    history.hears(1, Interrupted(signal.SIGKILL))
    if first:
        history.hears(0, Interrupted(signal.SIGTERM))
    left(history).machine.tool_ended("srun exited with status 137", history.now, well=False)
    status, kind, cause = told_of(history)
    assert (status, kind) == (125, OutcomeKind.HOST)
    assert cause.startswith("host node1 was lost at ")


def test_an_agent_that_was_killed_is_the_cause_of_what_the_tool_sends_the_others() -> None:
    history = interrupted(0, 2)
    history.machine.gone(1, "the agent died of signal 9", history.now)
    left(history, 1).machine.tool_ended("srun exited with status 125", history.now, well=False)
    assert told_of(history)[:2] == (125, OutcomeKind.HOST)


def test_after_the_users_own_signal_nobody_waits_for_the_tool() -> None:
    history = interrupted()
    history.machine.stop(signal.SIGINT, history.now)
    history.hears(0, Interrupted(signal.SIGTERM))
    assert told_of(left(history)) == (130, OutcomeKind.SIGNAL, "stopped by SIGINT")


def test_a_failure_stays_the_cause_of_what_the_tool_makes_of_it() -> None:
    history = interrupted()
    history.exited(3, 7)
    history.hears(0, Interrupted(signal.SIGTERM))
    assert told_of(left(history))[:2] == (7, OutcomeKind.WORKER)


def test_where_each_agent_was_started_by_itself_nobody_is_waited_for() -> None:
    history = History(agents_leave=True).running()
    history.hears(2, Interrupted(signal.SIGTERM))
    cause = "stopped by SIGTERM, sent to the agent on node2"
    assert told_of(left(history)) == (143, OutcomeKind.SIGNAL, cause)
