"""DeepSpeed #5809, #2571: a file for each rank came instead of the console."""

from __future__ import annotations

from pathlib import Path

from support.here import Words, shown


def test_both_have_it(tmp_path: Path) -> None:
    words: list[Words] = ["--nproc-per-node", "2", "--log-dir", tmp_path / "logs"]
    assert shown(*words, "--no-python", "sh", "-c", "echo $RANK") == ["0", "1"]
    files = {path.name: path.read_text() for path in (tmp_path / "logs").iterdir()}
    assert {name: text for name, text in files.items() if text} == {
        "rank0000.out": "0\n",
        "rank0001.out": "1\n",
    }
