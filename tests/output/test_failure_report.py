"""The report on what failed first."""

from __future__ import annotations

import time

import pytest

from madrun.output.failure_report import WorkerEnd, first_failure, ranks_in_words, report_failure
from madrun.wire.messages import Exited, ExitKind


def end(rank: int, status: int, at: float, ended: bool = False, **more: object) -> WorkerEnd:
    exited = Exited(rank, 100 + rank, status, at, ended, **more)  # type: ignore[arg-type]
    return WorkerEnd(f"node{rank // 2}", exited, at)


@pytest.mark.parametrize(
    ("ends", "rank"),
    [
        ([], None),
        ([end(0, 0, 1.0)], None),
        ([end(0, 0, 1.0), end(1, 3, 2.0)], 1),
        ([end(0, 1, 2.0), end(1, 3, 1.5)], 1),
        ([end(0, -15, 1.0, ended=True), end(1, 3, 2.0)], 1),
        ([end(0, -15, 3.0, ended=True), end(1, -9, 2.0, ended=True)], 1),
    ],
)
def test_first_failure(ends: list[WorkerEnd], rank: int | None) -> None:
    first = first_failure(ends)
    assert (first.exited.rank if first else None) == rank


def test_nothing_to_report() -> None:
    assert report_failure([end(0, 0, 1.0)], 0.0) == []


def test_the_whole_report() -> None:
    now = time.monotonic()
    ends = [
        end(3, -9, now, device="GPU-7", tail=b"step 1\nout of memory\n", log="/log/rank0003.err"),
        end(1, 1, now + 1),
        end(0, -15, now + 2, ended=True),
        end(2, -15, now + 2, ended=True),
    ]
    lines = report_failure(ends, now - 12.34)
    assert lines[0] == "rank 3 on node1 failed first: died of signal 9 (SIGKILL)"
    assert lines[1].startswith("    pid 103, device GPU-7, at ")
    assert lines[1].endswith(", 12.3 s after the start")
    assert lines[2:] == [
        "    its last lines:",
        "      step 1",
        "      out of memory",
        "    all of its output: node1:/log/rank0003.err",
        "madrun: failed after it: rank 1 on node0 (exited with status 1)",
        "madrun: ended because of it: ranks 0,2",
    ]


def test_those_that_failed_by_themselves_were_not_ended_because_of_it() -> None:
    failed = [end(rank, 1, rank / 10) for rank in (1, 3, 5, 7)]
    ended = [end(rank, -15, 1.0, ended=True) for rank in (0, 2, 4, 6)]
    assert report_failure([*ended, *failed], 0.0)[2:] == [
        "madrun: failed alike: ranks 1,3,5,7",
        "madrun: ended because of it: ranks 0,2,4,6",
    ]


def test_one_that_had_raised_the_same_before_we_ended_it_failed_alike() -> None:
    cause = "ValueError: bad batch (train.py:9)"
    ends = [
        end(1, 1, 0.1, cause=cause),
        end(3, -15, 0.2, ended=True, cause=cause),
        end(5, -15, 0.2, ended=True, cause="KeyError: 'x' (train.py:4)"),
        end(0, -15, 0.2, ended=True),
    ]
    assert report_failure(ends, 0.0)[-2:] == [
        "madrun: failed alike: ranks 1,3",
        "madrun: ended because of it: ranks 0,5",
    ]


def test_what_the_clocks_cannot_tell_apart_is_told_so() -> None:
    first = end(0, 4, 10.000)._replace(error=0.001)
    near = end(2, 7, 10.007)._replace(error=0.002)
    far = end(4, 7, 10.009)._replace(error=0.002)
    assert report_failure([far, near, first], 0.0)[2:] == [
        "madrun: failed at the same time: rank 2 on node1 (exited with status 7)",
        "madrun: failed after it: rank 4 on node2 (exited with status 7)",
    ]
    alike = [each._replace(exited=each.exited._replace(status=4)) for each in (near, far)]
    assert report_failure([first, *alike], 0.0)[2:] == [
        "madrun: failed alike: ranks 0,2,4 (ranks 0,2 at the same time)"
    ]


def test_one_host_has_one_clock() -> None:
    ends = [end(0, 4, 10.000)._replace(error=9.0), end(1, 7, 10.001)._replace(error=9.0)]
    assert "failed after it: rank 1" in report_failure(ends, 0.0)[-1]


def test_a_crash_has_a_hint_unless_python_has_told_where() -> None:
    plain, told = (
        report_failure([end(0, -11, 1.0, tail=tail)], 0.0)
        for tail in (b"", b"Fatal Python error: Segmentation fault\n")
    )
    assert "PYTHONFAULTHANDLER=1" in plain[2]
    assert not any("hint:" in line for line in told)


def test_a_workers_escapes_do_not_reach_the_report() -> None:
    lines = report_failure([end(0, 1, 1.0, tail=b"\x1b[2J\x1b[31mred\r\x1b[31mlast\n")], 0.0)
    assert lines[-1] == "      last"


def test_last_lines_that_were_just_shown_are_not_repeated() -> None:
    lines = report_failure([end(0, 1, 1.0, tail=b"one\ntwo\n")], 0.0, tail_is_shown=True)
    assert lines[-1] == "    its last lines: see above"


def test_only_the_last_lines_are_shown() -> None:
    tail = b"\n".join(b"line %d" % n for n in range(40))
    report = report_failure([end(0, 1, 0.0, tail=tail)], 0.0)
    assert [line.strip() for line in report[3:]] == [f"line {n}" for n in range(28, 40)]


def test_a_progress_bar_does_not_hide_the_traceback() -> None:
    bar = b"".join(b"\r%d%%" % percent for percent in range(100))
    tail = b"Traceback (most recent call last):\nValueError: nan\n" + bar
    report = report_failure([end(0, 1, 0.0, tail=tail)], 0.0)
    assert report[3:] == [
        "      Traceback (most recent call last):",
        "      ValueError: nan",
        "      99%",
    ]


def test_dos_line_ends_and_bytes_that_are_no_text() -> None:
    report = report_failure([end(0, 1, 0.0, tail=b"\xff one\r\ntwo\r\n")], 0.0)
    assert [line.strip() for line in report[3:]] == ["\ufffd one", "two"]


def test_a_program_that_could_not_be_started() -> None:
    words = "not started: Exec format error"
    report = report_failure([end(0, 126, 0.0, kind=ExitKind.NOT_STARTED, words=words)], 0.0)
    assert report[0] == "rank 0 on node0 failed first: not started: Exec format error"
    assert "not started" not in "".join(report[1:])


def test_the_cause_is_in_the_second_line() -> None:
    lines = report_failure([end(0, -9, 0.0, cause="out of memory")], 0.0)
    assert lines[0].endswith("died of signal 9 (SIGKILL)")
    assert lines[1] == "    cause: out of memory"
    assert lines[2].startswith("    pid 100")


def test_a_launcher_that_left_workers_is_told_by_what_it_did_and_not_by_a_status() -> None:
    words = "exited with status 0 while 2 workers of it still ran"
    report = report_failure([end(0, 1, 0.0, kind=ExitKind.ORPHANED_WORKERS, words=words)], 0.0)
    assert report[0] == f"rank 0 on node0 failed first: {words}"
    assert "status" not in "".join(report[1:])


def test_others_are_told_by_their_own_words() -> None:
    words = "exited with status 0 while 1 worker of it still ran"
    late = end(1, 1, 9.0, kind=ExitKind.ORPHANED_WORKERS, words=words)
    report = report_failure([end(0, 3, 0.0), late], 0.0)
    assert report[-1] == f"madrun: failed after it: rank 1 on node0 ({words})"


def test_trouble_with_a_log_file_is_shown() -> None:
    trouble = "/log/rank0000.out is incomplete: No space left on device"
    assert f"    {trouble}" in report_failure([end(0, 1, 0.0, log_trouble=trouble)], 0.0)


def test_a_thousand_failures_are_one_line() -> None:
    ends = [end(rank, 1 + rank % 100, float(rank)) for rank in range(1000)]
    alike, report = report_failure(ends, 0.0)[-2:]
    assert alike.startswith("madrun: failed alike: ranks 0,100,200,")
    assert "rank 8 on node4" in report
    assert "rank 9 on" not in report
    assert report.endswith(" and 982 more")


@pytest.mark.parametrize(
    ("ranks", "text"),
    [([0], "rank 0"), ([1, 0], "ranks 0-1"), ([0, 2, 4, 5, 6], "ranks 0,2,4-6"),
     (list(range(1024)), "ranks 0-1023")],
)  # fmt: skip
def test_ranks_in_words(ranks: list[int], text: str) -> None:
    assert ranks_in_words(ranks) == text


def test_a_server_that_ended_well_when_it_was_told_to_was_ended_because_of_it() -> None:
    report = report_failure([end(0, 7, 1.0), end(1, 0, 2.0, ended=True)], 0.0)
    assert report[-1] == "madrun: ended because of it: rank 1"
