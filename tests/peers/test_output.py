"""Output: whole lines, each with its rank and host, on the console and in files."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from support.cluster import Cluster
from support.here import Words, madrun, shown

TORN = """
import os
for _ in range(50):
    for piece in (os.environ["RANK"] + "x" * 3000, "y" * 3000, "\\n"):
        os.write(1, piece.encode())
"""


def test_lines_come_whole_and_with_their_rank() -> None:
    """DeepSpeed #2409: workers shared one pipe, and their lines were torn (``ARGVARGV [...]``)."""
    done = madrun("--nproc-per-node", "4", "--no-python", sys.executable, "-c", TORN)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    whole = [re.fullmatch(r"\[localhost:(\d)\] \1x{3000}y{3000}", line) for line in lines]
    assert sorted(found[1] for found in whole if found) == sorted("0123" * 50)
    assert all(whole)


def test_log_files_come_beside_the_console(tmp_path: Path) -> None:
    """DeepSpeed #5809, #2571: a file for each rank came instead of the console."""
    words: list[Words] = ["--nproc-per-node", "2", "--log-dir", tmp_path / "logs"]
    assert shown(*words, "--no-python", "sh", "-c", "echo $RANK") == ["0", "1"]
    files = {path.name: path.read_text() for path in (tmp_path / "logs").iterdir()}
    assert {name: text for name, text in files.items() if text} == {
        "rank0000.out": "0\n",
        "rank0001.out": "1\n",
    }


def test_the_output_as_it_was_written() -> None:
    """prime-rl PR #2180: code to strip the launcher's prefix; torchx #405: lines broken or lost."""
    script = r"""printf 'a  b\t\033[1mc\033[0m\n\n  {"loss": 1}\nno line end' """
    done = madrun("--no-prefix", "--no-python", "sh", "-c", script)
    assert done.stdout == 'a  b\t\033[1mc\033[0m\n\n  {"loss": 1}\nno line end\n'


def test_a_rank_is_a_global_rank(cluster: Cluster) -> None:
    """pytorch #60911, #117383: the output filter meant local ranks."""
    hosts = ("--hosts", "node01:2,node02:2")
    done = cluster.madrun(*hosts, "--output", "3", "--no-python", "hostname")
    assert done.stdout == "[node02:3] node02\n"


def test_no_two_workers_have_the_same_prefix(cluster: Cluster) -> None:
    """pytorch #75087: the prefix was the local rank, so that two nodes printed the same one."""
    done = cluster.madrun("--hosts", "node01:2,node02:2", "--no-python", "echo")
    assert sorted(done.stdout.split()) == ["[node01:0]", "[node01:1]", "[node02:2]", "[node02:3]"]
