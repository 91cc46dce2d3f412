"""DeepSpeed: a pid file stayed behind, and stopped the next job."""

from __future__ import annotations

from pathlib import Path

from support.here import madrun


def test_no_file_of_ours_stays(tmp_path: Path) -> None:
    places = dict.fromkeys(("HOME", "TMPDIR", "XDG_RUNTIME_DIR", "XDG_CACHE_HOME"), str(tmp_path))
    for status in (0, 1):
        done = madrun("--no-python", "sh", "-c", f"exit {status}", cwd=tmp_path, env=places)
        assert done.returncode == status
    assert list(tmp_path.iterdir()) == []
