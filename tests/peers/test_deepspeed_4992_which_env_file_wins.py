"""DeepSpeed #4992, #4006, #3965: which of two files wins has changed twice."""

from __future__ import annotations

from pathlib import Path

from support.here import shown


def test_the_later_one_wins_and_home_comes_first(tmp_path: Path) -> None:
    home, here = tmp_path / "home", tmp_path / "here"
    for folder in (home, here):
        folder.mkdir()
        (folder / ".deepspeed_env").write_text(f"A={folder.name}\nB={folder.name}\n")
    (home / ".deepspeed_env").write_text("A=home\nB=home\nC=home\n")
    (here / "asked").write_text("A=asked\n")
    words = ["--env-file", "asked", "--no-python", "sh", "-c", "echo $A $B $C"]
    assert shown(*words, cwd=here, env={"HOME": str(home)}) == ["asked here home"]
