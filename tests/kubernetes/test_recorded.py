"""What is made of recordings of a real Kubernetes (1.36): each state of each pod, in words.

recorded/NAME.jsonl has the watch events of one scenario, without what nobody here reads.
recorded/words.json has what came of them; MADRUN_GOLDEN=write writes it anew: read the difference.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from madrun.backends.kubernetes.pods import PodPhase, PodState, state_of
from madrun.backends.kubernetes.verdict import not_started, of_interest

RECORDED = Path(__file__).parent / "recorded"
SCENARIOS = sorted(path.stem for path in RECORDED.glob("*.jsonl"))
WORDS = RECORDED / "words.json"


def events(scenario: str, kind: str) -> list[dict[str, Any]]:
    """The watch events of a kind, in their order."""
    text = (RECORDED / f"{scenario}.jsonl").read_text(encoding="utf-8")
    return [each for line in text.splitlines() if (each := json.loads(line))["kind"] == kind]


def pods(scenario: str) -> list[PodState]:
    return [state_of(each["object"]) for each in events(scenario, "Pod")]


def told(scenario: str) -> list[str]:
    """The steps of all pods, without those that tell nothing new."""
    found: list[str] = []
    last: dict[str, str] = {}
    for pod in pods(scenario):
        hopeless = ", for ever" if pod.hopeless else ""
        line = f"{pod.node_rank}: {pod.phase.name}{hopeless}: {pod.words}".rstrip(": ")
        if last.get(pod.uid) != line:
            found.append(line)
        last[pod.uid] = line
    return found


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_the_words_of_a_recording(scenario: str) -> None:
    written = json.loads(WORDS.read_text(encoding="utf-8")) if WORDS.exists() else {}
    if os.environ.get("MADRUN_GOLDEN") == "write":
        written[scenario] = told(scenario)
        WORDS.write_text(json.dumps(written, indent=1, ensure_ascii=False) + "\n")
    assert told(scenario) == written[scenario]


def last_of(scenario: str) -> dict[int, PodState]:
    return {pod.node_rank: pod for pod in pods(scenario)}


@pytest.mark.parametrize(
    ("scenario", "reason"),
    [
        ("04-too-many-gpus", "Pending: 0/3 nodes are available: 3 Insufficient nvidia.com/gpu."),
        ("05-image-pull-backoff", "its image cannot be pulled (ImagePullBackOff): Back-off"),
        ("05-image-never-pull", "its container cannot be made (ErrImageNeverPull): Container"),
        ("05-image-name-invalid", "its container cannot be made (InvalidImageName): Failed"),
        ("05-secret-missing-env", "its container cannot be made (CreateContainerConfigError): sec"),
        ("05-command-not-found", "could not be started on node node"),
    ],
)
def test_the_report_names_what_keeps_a_pod_from_starting(scenario: str, reason: str) -> None:
    """As the command sees it: at the first state that is one for ever, or at its limit."""
    states = pods(scenario)
    hopeless = [pod for pod in states if pod.hopeless or pod.phase is PodPhase.ENDED]
    seen = hopeless[0] if hopeless else states[-1]
    verdict = not_started([f"train-{seen.node_rank}"], {0: seen}, 60.0, {})
    assert verdict.status == 125
    assert verdict.more[0].startswith(f"    train-0  {reason}")


def test_some_fit_is_told_of_the_one_that_does_not() -> None:
    alive: dict[int, PodState] = {}
    for pod in pods("04-some-fit-some-not"):
        if pod.phase is PodPhase.ENDED:
            break
        alive[pod.node_rank] = pod
    verdict = not_started([f"train-{rank}" for rank in range(4)], alive, 60.0, {})
    assert verdict.cause == "the job was not started: 1 of 4 pods cannot run it"
    assert verdict.more[0].startswith("    train-3  Pending: 0/3 nodes are available")


def test_many_pods_with_one_reason_are_one_line() -> None:
    (waits,) = {pod for pod in pods("04-too-many-gpus") if pod.words}
    many = {rank: waits._replace(node_rank=rank) for rank in range(500)}
    verdict = not_started([f"train-{rank}" for rank in range(500)], many, 60.0, {})
    assert verdict.cause == "the job was not started: 500 of 500 pods cannot run it"
    assert [line.split()[0] for line in verdict.more] == ["train-[0-499]"]


def test_out_of_memory_eviction_and_a_lost_node_are_worth_a_line() -> None:
    lines = {
        name: of_interest(last_of(name).values(), lambda rank: f"train-{rank}")
        for name in ("03-oomkilled", "03-oomkilled-child", "03-sigkill-of-child", "01-success")
    }
    killed = "because its memory was used up (OOMKilled)"
    assert killed in lines["03-oomkilled"][0]
    assert killed in lines["03-oomkilled-child"][0]
    assert (lines["03-sigkill-of-child"], lines["01-success"]) == ([], [])
    evicted = [pod for pod in pods("07-evict") if pod.phase is PodPhase.ENDED and pod.disrupted]
    assert "was evicted on node" in evicted[-1].words
    silent = [pod for pod in pods("07-cut-node-comes-back") if pod.phase is PodPhase.SILENT]
    assert silent[0].words.startswith("its node node")


def test_an_exit_is_known_before_the_phase_says_so() -> None:
    ended = [
        each for each in events("01-success", "Pod")
        if state_of(each["object"]).phase is PodPhase.ENDED
    ]  # fmt: skip
    assert ended[0]["object"]["status"]["phase"] == "Running"
    assert state_of(ended[0]["object"]).status == 0
