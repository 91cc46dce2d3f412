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


def check_in(node_rank: int, trouble: str) -> Told:
    return "check_in", {"host": f"n{node_rank}", "node_rank": node_rank, "log_trouble": trouble}


def exited(rank: int, trouble: str = "") -> Told:
    return "exited", {"host": "n0", "rank": rank, "log_trouble": trouble}


def end(rank: int | None = None) -> Told:
    return "end", {"rank": rank}


def test_hosts_without_log_files_are_named_once_in_their_order() -> None:
    event_log = [check_in(2, "full"), check_in(0, "full"), check_in(1, ""), check_in(3, "gone")]
    expected = ["madrun: no log files on n0, n2: full", "madrun: no log files on n3: gone"]
    assert said(*event_log, RUNNING, OVER) == expected
    assert said(*event_log, OVER) == expected  # a job so short that it never ran everywhere


def test_many_hosts_are_counted() -> None:
    lines = said(*(check_in(rank, "full") for rank in range(6)), RUNNING)
    assert lines == ["madrun: no log files on n0, n1, n2, n3 and 2 more: full"]


def test_what_the_report_says_is_not_said_twice() -> None:
    event_log = [exited(0, "a is incomplete"), exited(1, "b is incomplete"), exited(2)]
    assert said(*event_log, end(rank=1)) == ["madrun: n0: a is incomplete"]


def test_many_log_files_are_counted_and_nothing_else_is() -> None:
    event_log = [exited(rank, "a is incomplete") for rank in range(3)]
    lines = said(*event_log, exited(3), end())
    assert lines == ["madrun: n0: a is incomplete; log files of 2 more ranks as well"]
