"""The report on the start: from events to seconds per host, the slowest one first."""

from __future__ import annotations

from madrun.record.event import Event
from madrun.record.start_times import HostStart, StartTimes, host_starts, table


def step(host: str, name: str, at: float, **fields: object) -> Event:
    """An event of a host."""
    return Event(name, at, {"host": host, **fields})


def way(host: str, began: float, check_in: float) -> list[Event]:
    """One host's way to its check-in."""
    steps = ("connecting", "connected", "logged_in", "asked")
    return [
        *[step(host, "step", began + 0.1 * n, step=name) for n, name in enumerate(steps)],
        step(host, "agent_key", began + 0.8),
        step(host, "hello", began + 0.9, age=0.25),
        step(host, "check_in", check_in),
    ]


def launch() -> list[Event]:
    """Two hosts start; b is late."""
    return [
        Event("begin", 10.0, {}),
        Event("state", 10.0, {"state": "connecting"}),
        *way("a", 10.0, 11.0),
        *way("b", 11.5, 12.5),
        Event("state", 12.5, {"state": "starting"}),
        step("a", "started", 12.6),
        step("b", "started", 12.7),
        Event("state", 12.7, {"state": "running"}),
    ]


def test_a_launch_in_seconds() -> None:
    told: list[Event] = []
    shown: list[str] = []
    startup = StartTimes(["a", "b"], told.append, shown.append)
    for each in launch():
        startup.take(each)
    assert [each.name for each in told] == ["startup"]
    fields = told[0].fields
    assert (fields["seconds"], fields["slowest"]) == (2.7, "b")
    assert fields["hosts"][1] == {
        "host": "a", "ready": 1.0, "connect": 0.1, "log in": 0.1, "agent": 0.5,
        "check in": 0.2, "start": 0.1, "import": 0.25,
    }  # fmt: skip
    assert shown[0].startswith("madrun: all workers run after 2.70 s; the slowest host was b")


def test_a_job_that_fails_before_all_hosts_have_started_has_its_times_too() -> None:
    told: list[Event] = []
    shown: list[str] = []
    startup = StartTimes(["a", "b"], told.append, shown.append)
    for each in [*launch()[:-2], Event("state", 12.7, {"state": "ending"})]:
        startup.take(each)
    assert [each.name for each in told] == ["startup"]
    assert shown[0].startswith("madrun: the start was cut short after 2.70 s; the slowest host was")


def test_a_job_that_never_started_has_no_times() -> None:
    shown: list[str] = []
    startup = StartTimes(["a", "b"], show=shown.append)
    for each in [Event("begin", 10.0, {}), Event("state", 11.0, {"state": "ending"})]:
        startup.take(each)
    assert shown == []


def test_the_first_output_of_every_host_is_told_of_once() -> None:
    shown: list[str] = []
    startup = StartTimes(["a", "b"], show=shown.append)
    outputs = [step("b", "first_output", 13.0), step("a", "first_output", 14.0)]
    for each in [*launch(), *outputs, step("a", "exited", 15.0)]:
        startup.take(each)
    assert shown[1:] == ["madrun: every host has written something, a last: 4.00 s"]


def test_a_host_that_has_not_come_far_has_few_parts() -> None:
    rows = host_starts({"a": {"connecting": 1.0, "connected": 1.5}}, {}, 1.0)
    assert rows == [HostStart("a", 0.0, {"connect": 0.5})]


def test_many_hosts_are_not_all_shown() -> None:
    rows = [HostStart(f"n{number}", 1.0, {"start": 0.1}) for number in range(100)]
    lines = table(rows, 2.0).splitlines()
    assert len(lines) == 15
    assert lines[-1] == "    and 88 quicker hosts"
