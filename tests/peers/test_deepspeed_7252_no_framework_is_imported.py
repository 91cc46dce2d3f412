"""DeepSpeed #7252, #7918: the launcher imported torch, slow and with a context on GPU 0."""

from __future__ import annotations

from pathlib import Path

from support.here import shown


def test_neither_runner_nor_agent_imports_one(tmp_path: Path) -> None:
    for name in ("torch", "deepspeed", "numpy", "sitecustomize_of_nobody"):
        (tmp_path / f"{name}.py").write_text(f"raise SystemExit('{name} was imported')\n")
    assert shown("--no-python", "echo", "ran", env={"PYTHONPATH": str(tmp_path)}) == ["ran"]
