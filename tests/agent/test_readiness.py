"""What a node finds out before anything runs on it."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import pytest

from madrun.agent.readiness import Ready, make_ready
from madrun.hosts.world import Node, World
from madrun.system.errors import ClusterError
from madrun.wire.jobspec import EXEC, JobSpec


def ready(log_dir: str, optional: bool) -> Ready:
    """Of a node that is asked to write log files there."""
    spec = JobSpec(
        "j", World((Node("here", (0,)),)), ("true",), mode=EXEC, python=sys.executable,
        workdir="/", log_dir=log_dir, log_dir_optional=optional,
    )  # fmt: skip
    return make_ready(spec, 0, os.environ)


@pytest.mark.parametrize("optional", [True, False])
def test_a_log_folder_is_made_for_its_owner_alone(tmp_path: Path, optional: bool) -> None:
    path = tmp_path / "jobs" / "j" / "logs"
    found = ready(str(path), optional)
    assert (found.log_dir, found.log_trouble) == (str(path), "")
    made = [path, path.parent, path.parent.parent]
    assert [stat.S_IMODE(each.stat().st_mode) for each in made] == [0o700] * 3


@pytest.mark.parametrize(
    ("path", "reason"),
    [("/dev/null/logs", "Not a directory"), ("/proc/x", "No such file"), ("/dev/null", "Not a")],
)
def test_only_a_log_folder_that_was_asked_for_is_needed(path: str, reason: str) -> None:
    found = ready(path, optional=True)
    assert found.log_dir == ""
    assert found.log_trouble.startswith(f"{path}: {reason}")
    with pytest.raises(ClusterError, match=f"^log directory {path}: {reason}"):
        ready(path, optional=False)
