"""The user's stdin, and prompts, on real hosts."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys

from support.cluster import BIN, Cluster
from support.jobs import WORKER
from support.programs import PATIENCE

SUM = "import sys, hashlib; d = sys.stdin.buffer.read(); print(len(d), hashlib.md5(d).hexdigest())"
BYTES = os.urandom(1_000_000)
WHOLE = f"1000000 {hashlib.md5(BYTES).hexdigest()}"
EMPTY = f"0 {hashlib.md5(b'').hexdigest()}"


def sums(cluster: Cluster, *options: str) -> list[str]:
    """What each of eight ranks read, by rank."""
    done = cluster.run_bytes(
        "head",
        [
            *(str(BIN / "madrun"), "--hosts", "node[01-04]:2", *options),
            *("--no-python", sys.executable, "-c", SUM),
        ],
        input=BYTES,
    )
    assert done.returncode == 0, done.stderr
    lines = sorted(done.stdout.decode().splitlines(), key=lambda line: line.partition(":")[2])
    return [line.partition("] ")[2] for line in lines]


def test_rank_0_reads_and_nobody_else(cluster: Cluster) -> None:
    assert sums(cluster) == [WHOLE] + [EMPTY] * 7


def test_a_rank_elsewhere(cluster: Cluster) -> None:
    assert sums(cluster, "--stdin", "5") == [EMPTY] * 5 + [WHOLE] + [EMPTY] * 2


def test_all_ranks_read_the_same(cluster: Cluster) -> None:
    assert sums(cluster, "--stdin", "all") == [WHOLE] * 8


def test_a_reader_that_takes_nothing_raises_no_false_alarm(cluster: Cluster) -> None:
    """What is under way to it stands before the heartbeats: there must not be much of it."""
    cluster.delay("node01", "150ms", loss=5)
    try:
        done = cluster.run_bytes(
            "head",
            [
                *(BIN / "madrun", "--hosts", "node[01-02]:1", "--heartbeat-timeout", "2"),
                *("--no-python", "sh", "-c", "sleep 4; [ $RANK != 0 ] || wc -c"),
            ],
            input=BYTES[:150_000],
        )
    finally:
        cluster.delay("node01", "0")
    assert (done.returncode, done.stdout) == (0, b"[node01:0] 150000\n"), done.stderr


def test_the_debugger_of_rank_0(cluster: Cluster) -> None:
    script = cluster.share / "debug.py"
    script.write_text("import os\nif os.environ['RANK'] == '0': breakpoint()\nprint('over')\n")
    words = (BIN / "madrun", "--hosts", "node[01-02]:1", script)
    job = cluster.popen(
        "head", words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert job.stdin is not None
    assert job.stdout is not None
    seen = ""
    for prompt, answer in (("(Pdb) ", "p 6 * 7\n"), ("42\n[node01:0] (Pdb) ", "continue\n")):
        while prompt not in seen:
            data = os.read(job.stdout.fileno(), 4096)
            assert data, seen
            seen += data.decode()
        job.stdin.write(answer)
        job.stdin.flush()
    rest, _ = job.communicate(timeout=PATIENCE)
    assert job.returncode == 0
    assert "over\n" in rest


def test_a_worker_that_fails_while_it_is_fed(cluster: Cluster) -> None:
    done = cluster.run_bytes(
        "head",
        [BIN / "madrun", "--hosts", "node[01-02]:2", "--stdin", "all", WORKER, "hold", "exit=2:7"],
        input=BYTES,
    )
    assert done.returncode == 7
    assert b"rank 2 on node02 failed first: exited with status 7" in done.stderr
