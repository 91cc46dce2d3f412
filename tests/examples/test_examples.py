"""Each config of examples/ means what golden/ says: the plan over ssh, the script for Slurm.

``MADRUN_GOLDEN=write`` in the environment writes those files anew; look at what git says then.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from madrun.launchers.registry import built_in
from madrun.options.request import Request, changed
from madrun.runner import cli, dry_run
from madrun.runner.plan import make_plan
from madrun.runner.submit import sbatch, submit

ROOT = Path(__file__).resolve().parent.parent.parent
GOLDEN = Path(__file__).resolve().parent / "golden"
CONFIGS = sorted(
    path for path in (ROOT / "examples").iterdir() if path.suffix in (".json", ".toml", ".yaml")
)
PYTHON = "/usr/bin/python3"
JOB = "20260101-000000-abcdef"


def request_of(path: Path) -> Request:
    request = cli.parsed(["--config", str(path)])
    assert isinstance(request, Request)
    return request


def planned(request: Request) -> dict[str, Any]:
    """What is the config's doing, of each node; job ids are another each time."""
    plan = make_plan(changed(request, {"dry_run": True, "show_values": True}), {}, "/work", PYTHON)
    content = dry_run.as_object(plan)
    kept = {key: content[key] for key in ("backend", "launcher", "world", "master", "nodes")}
    for node in kept["nodes"]:
        del node["command"]
    text = json.dumps(kept).replace(plan.spec.job_id, JOB)
    found = json.loads(text)
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_an_example_means_what_it_meant(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    request = request_of(path)
    if path.stem.endswith("-slurm"):
        assert request.submit.scheduler == "slurm"
        name = f"{path.stem}.sbatch"
        text = sbatch.script(submit.batch_of(request, {}, "/work", PYTHON))
    else:
        name = f"{path.stem}.json"
        text = json.dumps(planned(request), indent=1) + "\n"
    golden = GOLDEN / name
    if os.environ.get("MADRUN_GOLDEN") == "write":
        GOLDEN.mkdir(exist_ok=True)
        golden.write_text(text, encoding="utf-8")
    assert text == golden.read_text(encoding="utf-8")


def test_each_launcher_has_two_and_each_plan_its_example() -> None:
    names = [each.name for each in built_in() if each.listed and each.name != "native"]
    wanted = {f"{name}-{place}" for name in names for place in ("ssh", "slurm")}
    assert {path.stem for path in CONFIGS} == wanted
    assert {path.stem for path in GOLDEN.iterdir()} == wanted
