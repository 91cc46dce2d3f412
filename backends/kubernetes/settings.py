"""What the section ``k8s`` asks for, as data."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from madrun.backends.kubernetes.keys import JOB, PORT_FORWARD
from madrun.hosts.devices import AMD
from madrun.system.errors import InputError

_POLICIES = {"always": "Always", "ifnotpresent": "IfNotPresent", "never": "Never"}
_RESOURCES = {AMD: "amd.com/gpu"}
_NVIDIA = "nvidia.com/gpu"
_TTL = 3600  # seconds: a job whose runner was killed is looked at, and goes
# Seconds for which the runner may be away: an API server that is restarted refuses for a minute.
_LEASE = 90
_NOTHING: Mapping[str, str] = {}


class Settings(NamedTuple):
    """How pods are made. Empty is not asked; amounts are Kubernetes' own texts.

    ``devices`` are the GPUs of a pod, of the kind ``device``. ``tolerations``, ``volumes`` and
    ``env_from`` are lists of plain data, as the config has them. ``lease``: see PodJob.
    """

    kubeconfig: str = ""
    context: str = ""
    namespace: str = ""
    kind: str = JOB
    image: str = ""
    agent_image: str = ""
    image_pull_policy: str = ""
    device: str = _NVIDIA
    devices: int = 0
    memory: str = ""
    memory_limit: str = ""
    cpu: str = ""
    cpu_limit: str = ""
    shm_size: str = ""
    ttl: int = _TTL
    deadline: int = 0
    channel: str = PORT_FORWARD
    lease: float = _LEASE
    node_selector: Mapping[str, str] = _NOTHING
    tolerations: tuple[dict[str, Any], ...] = ()
    labels: Mapping[str, str] = _NOTHING
    annotations: Mapping[str, str] = _NOTHING
    priority_class: str = ""
    queue_name: str = ""
    host_ipc: bool = False
    host_network: bool = False
    pull_secrets: tuple[str, ...] = ()
    env_from: tuple[dict[str, str], ...] = ()
    volumes: tuple[dict[str, str], ...] = ()
    data_pvc: str = ""
    results_pvc: str = ""
    service_account: str = ""


_AS_THEY_ARE = (
    "channel", "kubeconfig", "context", "namespace", "kind", "image", "agent_image",
    "memory", "memory_limit", "cpu", "cpu_limit", "shm_size", "priority_class", "queue_name",
    "data_pvc", "results_pvc", "service_account",
)  # fmt: skip
_FLAGS = ("host_ipc", "host_network")
_LISTS = ("tolerations", "volumes")
_TABLES = ("node_selector", "labels", "annotations")


def settings_of(section: Mapping[str, str], vendor: str = "") -> Settings:
    """The settings that a section has, whose values are texts as ``keys`` makes them.

    ``vendor`` is that of the GPUs where the section names no resource. Raises InputError for no
    image, and for what contradicts itself.
    """
    given: dict[str, Any] = {name: section[name] for name in _AS_THEY_ARE if section.get(name)}
    given |= {name: section.get(name) == "true" for name in _FLAGS}
    given |= {name: tuple(json.loads(section[name])) for name in _LISTS if name in section}
    given |= {name: json.loads(section[name]) for name in _TABLES if name in section}
    if policy := section.get("image_pull_policy"):
        given["image_pull_policy"] = _POLICIES[policy]
    secrets = json.loads(section.get("secrets", "{}"))
    sources = json.loads(section.get("env_from", "[]"))
    sources += [{"secret": name} for name in secrets.get("env", ())]
    made = Settings(
        **given,
        device=section.get("gpu_resource_name") or _RESOURCES.get(vendor, _NVIDIA),
        devices=int(section.get("gpu_count") or 0),
        ttl=int(section.get("ttl_seconds_after_finished") or _TTL),
        lease=float(section.get("lease_seconds") or _LEASE),
        deadline=int(section.get("active_deadline_seconds") or 0),
        pull_secrets=tuple(secrets.get("image_pull_secrets", ())),
        env_from=tuple(sources),
    )
    _check(made)
    return made


def _check(settings: Settings) -> None:
    if not settings.image:
        raise InputError(
            "--backend kubernetes: --image is needed: the container image in which the program runs"
        )
    for amount, limit in (("memory", "memory_limit"), ("cpu", "cpu_limit")):
        if getattr(settings, limit) and not getattr(settings, amount):
            raise InputError(f"k8s: {limit} without {amount}: say both")


def notes_of(section: Mapping[str, str]) -> tuple[str, ...]:
    """What the user should know of settings that mean something to other programs."""
    notes = []
    if int(section.get("backoff_limit") or 0):
        notes.append(
            "k8s: backoff_limit is 0: a pod that fails ends the job, Kubernetes repeats none alone"
        )
    if section.get("recreate_shared_data_pvc") == "true":
        notes.append("k8s: recreate_shared_data_pvc is not used: madrun deletes no volume claim")
    if section.get("output_dir"):
        notes.append("k8s: output_dir is not used: results_pvc keeps what a job leaves")
    return tuple(notes)
