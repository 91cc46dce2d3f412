"""DeepSpeed: the environment file was not read for a job on one node."""

from __future__ import annotations

from pathlib import Path

from support.here import shown


def test_it_is_read_for_one_node_too(tmp_path: Path) -> None:
    (tmp_path / ".deepspeed_env").write_text("GREETING=hello\n")
    assert shown("--no-python", "sh", "-c", "echo $GREETING", cwd=tmp_path) == ["hello"]
