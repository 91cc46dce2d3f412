"""What Kubernetes knows of a pod, as data and in a few words. Pure."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any, NamedTuple

from madrun.system.exits import exit_words

Object = Mapping[str, Any]

INDEX = "batch.kubernetes.io/job-completion-index"
MAIN = "main"
OOM_KILLED = "OOMKilled"
_HIGHEST = 128 + 65  # statuses above are no signals
_START_ERROR = "StartError"
# A container that waits for one of these waits for ever: nothing but another manifest mends it.
_FOR_EVER = frozenset({
    "ErrImageNeverPull", "InvalidImageName", "CreateContainerConfigError", "CreateContainerError",
    "RunContainerError",
})  # fmt: skip
_IMAGE = frozenset({"ErrImagePull", "ImagePullBackOff"})  # one state: it alternates
_EVICTIONS = frozenset({
    "EvictionByEvictionAPI", "TerminationByKubelet", "PreemptionByScheduler",
    "DeletionByTaintManager", "DeletionByPodGC",
})  # fmt: skip


class PodPhase(enum.Enum):
    """How far a pod has come."""

    UNSCHEDULED = "has no node"
    PREPARING = "its container is being made"
    RUNNING = "runs"
    SILENT = "its node does not answer"
    ENDED = "has ended"


class PodState(NamedTuple):
    """A pod at one moment.

    ``reason`` and ``message`` are Kubernetes' own, of what the pod waits for or has ended with;
    ``status`` is the exit status of its main container, None before. ``disrupted`` says why
    Kubernetes takes it away. One that is ``hopeless`` will never run.
    """

    name: str
    uid: str
    node_rank: int
    phase: PodPhase
    node: str = ""
    reason: str = ""
    message: str = ""
    status: int | None = None
    disrupted: str = ""
    hopeless: bool = False

    @property
    def words(self) -> str:
        """What is to be said of it; empty where all is as it should be."""
        return _words(self)


def state_of(pod: Object) -> PodState:
    """The state that an object of the API tells."""
    metadata, status = pod["metadata"], pod.get("status") or {}
    conditions = {each["type"]: each for each in status.get("conditions") or ()}
    index = (metadata.get("labels") or {}).get(INDEX, "0")
    common = PodState(
        metadata["name"],
        metadata.get("uid", ""),
        int(index) if index.isdecimal() else 0,
        PodPhase.PREPARING,
        (pod.get("spec") or {}).get("nodeName", ""),
        disrupted=_disruption(conditions, status),
    )
    for container in _containers(status):
        if found := _of_container(common, container, conditions, status):
            return found
    if status.get("phase") in ("Succeeded", "Failed"):
        reason, message = status.get("reason", ""), status.get("message", "")
        return common._replace(phase=PodPhase.ENDED, reason=reason, message=message)
    scheduled = conditions.get("PodScheduled", {})
    if scheduled.get("status") != "True":
        reason, message = scheduled.get("reason", ""), scheduled.get("message", "")
        return common._replace(phase=PodPhase.UNSCHEDULED, reason=reason, message=message)
    return common


def _containers(status: Object) -> list[Object]:
    """Those that count: each init container that has not gone well, then the main one."""
    first = [each for each in status.get("initContainerStatuses") or () if not _went_well(each)]
    rest = [each for each in status.get("containerStatuses") or () if each["name"] == MAIN]
    return [*first[:1], *rest]


def _went_well(container: Object) -> bool:
    ended: Object = (container.get("state") or {}).get("terminated") or {}
    return ended.get("exitCode") == 0


def _of_container(
    common: PodState, container: Object, conditions: Mapping[str, Object], status: Object
) -> PodState | None:
    state: Object = container.get("state") or {}
    if ended := state.get("terminated"):
        return common._replace(
            phase=PodPhase.ENDED,
            reason=ended.get("reason", ""),
            message=ended.get("message", "") or status.get("message", ""),
            status=ended.get("exitCode"),
        )
    if state.get("running") and container["name"] == MAIN:
        ready = conditions.get("Ready", {})
        silent = ready.get("status") == "False" and not ready.get("reason")
        return common._replace(phase=PodPhase.SILENT if silent else PodPhase.RUNNING)
    waiting: Object = state.get("waiting") or {}
    reason = waiting.get("reason", "")
    if reason in _FOR_EVER | _IMAGE:
        return common._replace(
            reason=reason, message=waiting.get("message", ""), hopeless=reason != "ErrImagePull"
        )
    return None


def _disruption(conditions: Mapping[str, Object], status: Object) -> str:
    target = conditions.get("DisruptionTarget", {})
    if target.get("status") == "True":
        return str(target.get("reason", "") or "DisruptionTarget")
    return "Evicted" if status.get("reason") == "Evicted" else ""


def _words(pod: PodState) -> str:
    message = " ".join(pod.message.split())
    match pod.phase:
        case PodPhase.UNSCHEDULED:
            return f"Pending: {message}" if message else ""
        case PodPhase.SILENT:
            return f"its node {pod.node} does not answer"
        case PodPhase.PREPARING if pod.reason in _IMAGE:
            return f"its image cannot be pulled ({pod.reason}): {message}"
        case PodPhase.PREPARING if pod.reason:
            return f"its container cannot be made ({pod.reason}): {message}"
        case PodPhase.ENDED:
            return _end_words(pod, message)
    return f"Kubernetes takes it away ({pod.disrupted})" if pod.disrupted else ""


def _end_words(pod: PodState, message: str) -> str:
    where = f" on node {pod.node}" if pod.node else ""
    if pod.reason == OOM_KILLED:
        return f"was killed{where} because its memory was used up (OOMKilled)"
    if pod.disrupted in _EVICTIONS or pod.disrupted == "Evicted":
        return f"was evicted{where} ({pod.disrupted})" + (f": {message}" if message else "")
    if pod.reason == _START_ERROR:
        return f"could not be started{where} (StartError): {message}"
    if pod.status is None or pod.reason in ("ContainerStatusUnknown", "Unknown"):
        return f"was lost{where}"
    if pod.status == 0:
        return ""
    signalled = 128 < pod.status < _HIGHEST
    words = exit_words(128 - pod.status if signalled else pod.status)
    return f"ended{where}: {words}" + (f": {message}" if message else "")
