"""What is said of a job whose end pod 0 could not report. Pure."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from madrun.backends.kubernetes.pods import OOM_KILLED, PodPhase, PodState
from madrun.hosts import hostlist
from madrun.record.event import OutcomeKind
from madrun.system.exits import FAILED


class Verdict(NamedTuple):
    """The job's exit status; with a ``cause`` where nobody has reported it yet, and more lines."""

    status: int
    cause: str = ""
    more: tuple[str, ...] = ()
    kind: OutcomeKind = OutcomeKind.LAUNCH

    @property
    def report(self) -> str:
        """The last thing that is printed."""
        return "\n".join([f"madrun: {self.cause}", *self.more]) if self.cause else ""


def stopped(number: int) -> Verdict:
    """A signal has ended it before pod 0 could be told."""
    name = signal.Signals(number).name
    return Verdict(128 + number, f"stopped by {name}", kind=OutcomeKind.SIGNAL)


# Somebody else has deleted the Job.
REMOVED = Verdict(FAILED, "the job was ended from outside", kind=OutcomeKind.HOST)


def not_started(
    hosts: Sequence[str],
    pods: Mapping[int, PodState],
    limit: float,
    logs: Mapping[int, Sequence[str]],
) -> Verdict:
    """Why a job was not started, pod by pod."""
    reasons: dict[int, str] = {}
    for index in range(len(hosts)):
        pod = pods.get(index)
        reason = _start_reason(pod, logs.get(index, ()), limit)
        if reason:
            reasons[index] = reason
    # One that failed is the reason why others were waited for.
    failed = {i: r for i, r in reasons.items() if i in pods and _is_verdict(pods[i])}
    shown = failed or reasons
    alike: dict[str, list[str]] = {}
    for index in sorted(shown):
        alike.setdefault(shown[index], []).append(hosts[index])
    names = {reason: hostlist.fold(pods_alike) for reason, pods_alike in alike.items()}
    width = max(map(len, names.values()), default=0)
    lines = [f"    {name:<{width}}  {reason}" for reason, name in names.items()]
    count = f"{len(shown)} of {len(hosts)} pods cannot run it"
    statuses = {pods[i].status for i in failed}
    status = statuses.pop() if len(statuses) == 1 and len(failed) == len(hosts) else None
    known = status if status in (2, 126, 127) else FAILED
    return Verdict(known, f"the job was not started: {count}", tuple(lines))


def _is_verdict(pod: PodState) -> bool:
    return pod.hopeless or pod.phase is PodPhase.ENDED


def _start_reason(pod: PodState | None, log: Sequence[str], limit: float) -> str:
    if pod is None:
        return f"Kubernetes has not made the pod within {limit:g} s"
    if any("No module named" in line and "madrun" in line for line in log):
        return "the image has no madrun: --agent-image names an image to copy it from"
    if pod.phase is PodPhase.ENDED:
        last = " | ".join(line.strip() for line in log[-3:] if line.strip())
        return (pod.words or "ended before the start") + (f": {last}" if last else "")
    if pod.phase is PodPhase.RUNNING:
        return ""
    return pod.words or f"{pod.phase.value}, not running within {limit:g} s"


def not_reached(host: str, problem: str) -> Verdict:
    """All pods run, and nobody could be attached to the first one."""
    more = ("    --k8s channel=log follows its log instead, --detach does without",)
    return Verdict(FAILED, f"pod {host} runs, and is not reached: {problem}", more)


def coordinator_ended(pod: PodState, host: str, log: Sequence[str]) -> Verdict:
    """Pod 0 has ended and its report has not come: its log has it, as far as it got."""
    tail = tuple(f"      {line}" for line in log)
    more = ("    the end of its log:", *tail) if tail else ()
    known = pod.status if pod.status and pod.reason in ("Error", "Completed") else None
    words = pod.words or "ended before its report came"
    return Verdict(known or FAILED, f"pod {host} {words}", more, OutcomeKind.HOST)


def without_coordinator(pod: PodState | None, host: str) -> Verdict:
    """Pod 0 is not reached, though the API server answers."""
    words = pod.words if pod is not None else ""
    words = words or "cannot be reached, though the API server answers"
    return Verdict(FAILED, f"pod {host} is lost: {words}", kind=OutcomeKind.HOST)


def of_interest(pods: Iterable[PodState], host: Callable[[int], str]) -> list[str]:
    """What Kubernetes knows of pods, and no agent can."""
    return [
        f"Kubernetes: pod {host(pod.node_rank)} {pod.words}"
        for pod in sorted(pods, key=lambda each: each.node_rank)
        if pod.words and (pod.reason == OOM_KILLED or pod.disrupted or _is_lost(pod))
    ]


def _is_lost(pod: PodState) -> bool:
    unknown = pod.reason in ("ContainerStatusUnknown", "Unknown")
    return pod.phase is PodPhase.SILENT or (pod.phase is PodPhase.ENDED and unknown)
