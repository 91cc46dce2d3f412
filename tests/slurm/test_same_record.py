"""The same failing job through madrun and through madagent: report, record, logs, exit status."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from support.cluster import Cluster
from support.jobs import WORKER
from support.slurm import AGENTS, BACKEND, Form

ALIKE = [
    (re.compile(r"\bpid \d+"), "pid N"),
    (re.compile(r"\b\d\d:\d\d:\d\d\b"), "HH:MM:SS"),
    (re.compile(r"\b\d+\.\d s after\b"), "N s after"),
    (re.compile(r"/[^ ]*/(?=logs/)"), "FOLDER/"),
]
# What is another one in each run.
VARYING = {"t", "pid", "pids", "log", "begun", "ended_at", "seconds", "startup", "job_id"}


def alike(text: str) -> str:
    for pattern, form in ALIKE:
        text = pattern.sub(form, text)
    return text


def plain(value: Any) -> Any:
    """A summary without what is another one in each run."""
    if isinstance(value, dict):
        return {name: plain(each) for name, each in value.items() if name not in VARYING}
    if isinstance(value, list):
        return [plain(each) for each in value]
    return alike(value) if isinstance(value, str) else value


def outcome(cluster: Cluster, form: Form, words: list[str]) -> dict[str, Any]:
    """All that a user has of a job, in comparable form."""
    jobs = cluster.share / f"same-{form}"
    job_dir = ["--job-dir", str(jobs), "--grace", "5"]
    done = cluster.run(
        "head", form.words(*job_dir, *words, slurm=["-N2", "-c2", "--gpus-per-node=2"])
    )
    said = [line for line in done.stderr.splitlines() if not line.startswith("srun:")]
    folder = Path(jobs / "latest")
    summary = json.loads((folder / "summary.json").read_text())
    record = plain(summary)
    record["states"] = [*summary["states"]]
    record["problems"] = sorted(record["problems"], key=str)  # in the order of the answers
    record["ended"] = summary["ended"] is not None
    return {
        "status": done.returncode,
        "report": [alike(line) for line in said],
        "output": sorted(done.stdout.splitlines()),
        "summary": record,
        "logs": {each.name: each.read_text() for each in (folder / "logs").glob("rank*")},
        "files": sorted(each.name for each in folder.iterdir() if not each.name.endswith(".lock")),
        "events": sorted({json.loads(line)["event"] for line in
                          (folder / "events.jsonl").read_text().splitlines()} - {"step", "signal"}),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("words", "status"),
    [
        ([str(WORKER), "hold", "exit=3:6"], 6),
        ([str(WORKER), "hold", "signal=1:9"], 137),
        (["--no-python", "no-such-program"], 127),
        ([str(WORKER)], 0),
    ],
    ids=["exit", "signal", "not found", "success"],
)
def test_a_job_is_the_same_with_and_without_a_runner(
    cluster: Cluster, words: list[str], status: int
) -> None:
    found = {form: outcome(cluster, form, words) for form in (BACKEND, AGENTS)}
    assert found[BACKEND]["status"] == status, found[BACKEND]["report"]
    for name, expected in found[BACKEND].items():
        assert found[AGENTS][name] == expected, name
    if status not in (0, 127):
        assert len(found[AGENTS]["logs"]) == 8
