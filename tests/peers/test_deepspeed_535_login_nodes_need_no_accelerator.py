"""DeepSpeed #535, #2052: the launcher needed a working accelerator where it was called."""

from __future__ import annotations

import os
from pathlib import Path

from support.here import planned, shown


def test_a_broken_driver_here_is_no_concern_of_the_launch(tmp_path: Path) -> None:
    broken = tmp_path / "nvidia-smi"
    broken.write_text("#!/bin/sh\necho 'Failed to initialize NVML' >&2; exit 9\n")
    broken.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    assert planned("--hosts", "node[1-2]:8", env={"PATH": path})["world_size"] == 16
    assert shown("--no-python", "echo", "ran", env={"PATH": path}) == ["ran"]
