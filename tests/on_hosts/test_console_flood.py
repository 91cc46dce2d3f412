"""A flood of output on four hosts with four ranks each: bounded, fair, counted, complete."""

from __future__ import annotations

import os
import re
import signal
import sys
import time

from support.cluster import BIN, Cluster
from support.jobs import TESTS, Running, of_the_job
from support.programs import PATIENCE
from testbed.processes import Process, descendants

FLOOD = TESTS / "payloads" / "flood.py"
HOSTS = ("--hosts", "node[01-04]:4")
MOST_MEMORY = 150 * 1024  # KiB


def memory(process: Process) -> int:
    """What a process has in memory, in KiB."""
    with open(f"/proc/{process.outer_pid}/status", encoding="utf-8") as file:
        found = re.search(r"VmRSS:\s+(\d+) kB", file.read())
    assert found is not None
    return int(found[1])


def runners(job: Running) -> list[Process]:
    """Guard and core of the runner."""
    guard = job.cluster.process(job.process)
    return [guard, *(each for each in descendants(guard.outer_pid) if "madrun" in str(each.argv))]


def line_of_rank_0(number: int) -> bytes:
    return b"0 line %09d of a flood, and a little more of it\n" % number


def test_one_rank_prints_without_end(cluster: Cluster) -> None:
    """Memory stays small, the others are heard, Ctrl-C ends it, and the log has every byte."""
    logs, count = cluster.share / "flood-logs", cluster.share / "flood-count"
    job = Running(
        cluster,
        [
            *(*HOSTS, "--log-dir", logs, "--export", f"FLOOD_COUNT={count}", "--grace", "3600"),
            *(FLOOD, "endless"),
        ],
    )
    job.up(15)
    before = max(map(memory, runners(job)))
    for _ in range(30):
        job.until(r"rank 15 lives", len(re.findall("rank 15 lives", job.stdout)) + 1)
        job.stdout = job.stdout[-100_000:]
    for rank in range(1, 16):
        job.until(rf"rank {rank} lives")
    after = max(map(memory, runners(job)))
    assert after < MOST_MEMORY, f"{before} KiB, then {after} KiB"
    job.signal(signal.SIGINT)
    assert job.wait() == 130
    assert of_the_job(cluster) == []
    written = int(count.read_text())
    with open(logs / "rank0000.out", "rb") as log:
        for number in range(written):
            assert log.readline() == line_of_rank_0(number)
        assert log.read() == b""
    assert (logs / "rank0007.out").read_bytes().endswith(b"rank 7 lives\n")


def test_what_a_slow_reader_gets_and_what_is_left_out_is_all(cluster: Cluster) -> None:
    """Every line is shown or counted, for each rank."""
    lines, ranks = 60_000, 16
    logs = cluster.share / "burst-logs"
    job = cluster.popen(
        "head", [BIN / "madrun", *HOSTS, "--log-dir", logs, FLOOD, "burst", str(lines)]
    )
    assert job.stdout is not None
    assert job.stderr is not None
    deadline = time.monotonic() + PATIENCE
    sizes = 0
    while sizes < ranks * lines * len(line_of_rank_0(0)) and time.monotonic() < deadline:
        time.sleep(0.1)  # nobody reads meanwhile: that is the point
        sizes = sum(path.stat().st_size for path in logs.glob("*.out"))
    out, err = job.communicate(timeout=PATIENCE)
    assert job.returncode == 0
    shown = dict.fromkeys(range(ranks), 0)
    for line in out.splitlines():
        found = re.fullmatch(
            r"\[node0\d:(\d+)\] (\d+) line \d{9} of a flood, and a little more of it", line
        )
        assert found is not None, line
        assert found[1] == found[2]
        shown[int(found[1])] += 1
    dropped = dict.fromkeys(range(ranks), 0)
    for count, rank in re.findall(r"(\d+) lines? of rank (\d+) w\w+ not shown", err):
        dropped[int(rank)] += int(count)
    assert "of stdout" not in err, "the reader was there at the end"
    assert any(dropped.values())
    assert {rank: shown[rank] + dropped[rank] for rank in shown} == dict.fromkeys(shown, lines)


def test_lines_of_10_mb(cluster: Cluster) -> None:
    """A line that long is cut, and says so; none is torn by another rank's."""
    size = 10_000_000
    logs = cluster.share / "long-logs"
    done = cluster.madrun(
        *("--hosts", "node[01-04]:1", "--log-dir", logs, FLOOD, "long", str(size))
    )
    assert done.returncode == 0, done.stderr
    for rank in range(4):
        letter = chr(97 + rank)
        prefix = f"[node0{rank + 1}:{rank}] "
        # A writer that pauses within its line may be asking: what there is, is shown at once.
        parts = [line for line in done.stdout.splitlines() if line.startswith(prefix)]
        text, _, words = "".join(part.removeprefix(prefix) for part in parts).partition(" [... ")
        assert {*text} == {letter}
        assert words == "the rest of this line is not shown: it is longer than 256 KiB]"
        assert (logs / f"rank{rank:04d}.out").read_text() == letter * size + "\n"


def test_binary_output_is_passed_on_as_it_is(cluster: Cluster) -> None:
    logs = cluster.share / "binary-logs"
    everything = bytes(byte for byte in range(256) if byte != 13) * 2000
    done = cluster.run_bytes(
        "head",
        [
            *(BIN / "madrun", "--hosts", "node[01-02]:1", "--output", "1", "--no-prefix"),
            *("--log-dir", logs, FLOOD, "binary", str(len(everything))),
        ],
    )
    assert done.returncode == 0, done.stderr
    assert (logs / "rank0001.out").read_bytes() == everything
    assert done.stdout == everything + b"\n"


def test_characters_that_come_in_two_pieces(cluster: Cluster) -> None:
    script = (
        "import os, time\n"
        "for byte in 'müde ☃ 𝄞\\n'.encode() * 3:\n"
        "    os.write(1, bytes([byte])); time.sleep(0.03)\n"
        "os.write(1, 'ü'.encode()[:1]); time.sleep(0.5); os.write(1, 'ü'.encode()[1:] + b'\\n')\n"
    )
    done = cluster.madrun("--hosts", "node01:1", "--no-python", sys.executable, "-c", script)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["[node01:0] müde ☃ 𝄞"] * 3 + ["[node01:0] ü"]


def test_sixteen_equal_lines_are_folded(cluster: Cluster) -> None:
    script = "echo loading; [ $RANK = 3 ] || sleep 0.6; echo $RANK; sleep 1"
    done = cluster.madrun(*HOSTS, "--fold", "--no-python", "sh", "-c", script)
    assert done.returncode == 0, done.stderr
    text = done.stdout
    assert len(re.findall("loading", text)) < 8, text
    assert sorted(re.findall(r"\] (\d+)$", text, re.M), key=int) == [str(n) for n in range(16)]


def test_a_reader_that_goes_away_ends_nothing(cluster: Cluster) -> None:
    job = cluster.popen("head", [BIN / "madrun", *HOSTS, FLOOD, "burst", "20000"])
    assert job.stdout is not None
    os.read(job.stdout.fileno(), 1000)
    job.stdout.close()
    assert job.stderr is not None
    with job.stderr:
        assert "failed" not in job.stderr.read()
    assert job.wait(PATIENCE) == 0
