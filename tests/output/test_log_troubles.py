"""What is said of log files that could not be had or are not complete."""

from __future__ import annotations

from madrun.output.log_troubles import LogTroubles
from madrun.record.event import Event

Told = tuple[str, dict[str, object]]
RUNNING: Told = ("state", {"state": "running"})
OVER: Told = ("state", {"state": "over"})


def said(*event: Told) -> list[str]:
    """What the user hears in such a story."""
    lines: list[str] = []
    troubles = LogTroubles(lines.append)
    for name, fields in event:
        troubles.take(Event(name, 0.0, fields))
    return lines


def check_in(node_rank: int, note: str) -> Told:
    return "check_in", {"host": f"n{node_rank}", "node_rank": node_rank, "note": note}


def exited(note: str) -> Told:
    return "exited", {"host": "n0", "note": note}


def test_hosts_without_log_files_are_named_once_in_their_order() -> None:
    event_log = [check_in(2, "full"), check_in(0, "full"), check_in(1, ""), check_in(3, "gone")]
    expected = ["madrun: no log files on n0, n2: full", "madrun: no log files on n3: gone"]
    assert said(*event_log, RUNNING, OVER) == expected
    assert said(*event_log, OVER) == expected  # a job so short that it never ran everywhere


def test_many_hosts_are_counted() -> None:
    lines = said(*(check_in(rank, "full") for rank in range(6)), RUNNING)
    assert lines == ["madrun: no log files on n0, n1, n2, n3 and 2 more: full"]


def test_what_the_report_says_is_not_said_twice() -> None:
    event_log = [exited("a is incomplete"), exited("b is incomplete"), exited("not started: x")]
    end: Told = ("end", {"report": "madrun: rank 0 failed first\n    b is incomplete"})
    assert said(*event_log, end) == ["madrun: n0: a is incomplete"]
    lines = said(*[exited("a is incomplete")] * 3, ("end", {"report": ""}))
    assert lines == ["madrun: n0: a is incomplete; so are those of 2 more ranks"]
