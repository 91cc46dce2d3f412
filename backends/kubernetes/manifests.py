"""What is made in the cluster for a job, as plain data: pure functions, and nothing is contacted.

A Job (or a JobSet, or a LeaderWorkerSet), a headless Service by which its pods find each other, a
Secret with the job's key and spec, and a ConfigMap with what is shipped. The last three belong to
the first (``owned``): they go with it, whoever deletes it.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from madrun.backends.kubernetes.code import ShippedFile
from madrun.backends.kubernetes.keys import JOB, JOBSET, LEADERWORKERSET
from madrun.backends.kubernetes.names import WORKER, Names
from madrun.backends.kubernetes.settings import Settings

Manifest = dict[str, Any]

MAIN = "main"  # the container that runs the agent
JOB_LABEL = "madrun/job"
_INDEX = "metadata.labels['batch.kubernetes.io/job-completion-index']"
_AGENT = "/opt/madrun"  # what --agent-image has there is copied to the same place
# Seconds beyond the grace: the agents' own end, and their last words.
_END_ALLOWANCE = 15
DATA, RESULTS = "/data", "/results"


class Folders(NamedTuple):
    """Where a pod has what madrun brings, and where the job's own files are."""

    job: str = "/run/madrun/job"
    shipped: str = "/run/madrun/shipped"
    work: str = "/run/madrun/work"
    jobs: str = "/run/madrun/jobs"


FOLDERS = Folders()


class PodJob(NamedTuple):
    """A job as its manifests need it.

    ``secret`` are the files that the pods alone may read, ``files`` what is shipped, ``env`` are
    constants for the main container, ``ports`` those of servers by name; ``program`` is the
    agent's argv and ``grace`` the seconds that the workers have to end.
    """

    names: Names
    settings: Settings
    job_id: str
    nnodes: int
    grace: float
    program: tuple[str, ...]
    secret: Mapping[str, bytes] = MappingProxyType({})
    files: tuple[ShippedFile, ...] = ()
    env: Mapping[str, str] = MappingProxyType({})
    ports: Mapping[str, int] = MappingProxyType({})


def manifests(job: PodJob, hide: bool = False) -> list[Manifest]:
    """All that is made, the owner of the rest first. With ``hide`` secret values are not there.

    The controllers of JobSet and LeaderWorkerSet make the Service themselves.
    """
    services = [service(job)] if job.settings.kind == JOB else []
    return [workload(job), *services, secret(job, hide), *code(job)]


def workload(job: PodJob) -> Manifest:
    """The object that makes the pods."""
    kinds = {JOB: _job, JOBSET: _job_set, LEADERWORKERSET: _leader_worker_set}
    return kinds[job.settings.kind](job)


def owned(manifest: Manifest, owner: Manifest) -> Manifest:
    """The manifest as one that goes when ``owner``, an object of the cluster, goes."""
    reference = {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
    }
    metadata = {**manifest["metadata"], "ownerReferences": [reference]}
    return {**manifest, "metadata": metadata}


def service(job: PodJob) -> Manifest:
    """Gives each pod its name, from its first moment on."""
    spec: Manifest = {
        "clusterIP": "None",
        "publishNotReadyAddresses": True,
        "selector": {JOB_LABEL: job.names.job},
    }
    if job.ports:
        spec["ports"] = [{"name": name, "port": port} for name, port in job.ports.items()]
    return _object("v1", "Service", job.names.service, job, spec=spec)


def secret(job: PodJob, hide: bool = False) -> Manifest:
    """The job's key and its spec, which has the values of variables."""
    if hide:
        text = dict.fromkeys(job.secret, "(hidden: --show-values shows it)")
        content: Manifest = {"type": "Opaque", "stringData": text}
    else:
        content = {"type": "Opaque", "data": _coded(job.secret)}
    return _object("v1", "Secret", job.names.secret, job, immutable=True, **content)


def code(job: PodJob) -> list[Manifest]:
    """What is shipped; nothing where nothing is."""
    if not job.files:
        return []
    data = {file.key: file.text for file in job.files if file.text is not None}
    binary = _coded({file.key: file.content for file in job.files if file.text is None})
    content: Manifest = {"data": data} if data else {}
    content |= {"binaryData": binary} if binary else {}
    return [_object("v1", "ConfigMap", job.names.code, job, immutable=True, **content)]


def _job(job: PodJob) -> Manifest:
    return _object("batch/v1", "Job", job.names.job, job, spec=_job_spec(job, _suspended(job)))


def _suspended(job: PodJob) -> Manifest:
    """Kueue starts a job that waits in one of its queues."""
    return {"suspend": True} if job.settings.queue_name else {}


def _job_spec(job: PodJob, more: Manifest) -> Manifest:
    spec: Manifest = {
        "completionMode": "Indexed",
        "completions": job.nnodes,
        "parallelism": job.nnodes,
        "backoffLimit": 0,
        "podReplacementPolicy": "Failed",
        "podFailurePolicy": {
            "rules": [
                {
                    "action": "Ignore",
                    "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}],
                },
                {
                    "action": "FailJob",
                    "onExitCodes": {
                        "containerName": MAIN, "operator": "NotIn", "values": [0],
                    },
                },
            ]
        },
        **more,
        "template": _template(job),
    }  # fmt: skip
    if job.settings.kind == JOB:
        spec["ttlSecondsAfterFinished"] = job.settings.ttl
    if job.settings.deadline:
        spec["activeDeadlineSeconds"] = job.settings.deadline
    return spec


def _job_set(job: PodJob) -> Manifest:
    """One replicated job of one Job; the controller gives the pods their names."""
    spec: Manifest = {
        "network": {
            "enableDNSHostnames": True,
            "subdomain": job.names.service,
            "publishNotReadyAddresses": True,
        },
        "failurePolicy": {"maxRestarts": 0},
        **_suspended(job),
        "ttlSecondsAfterFinished": job.settings.ttl,
        "replicatedJobs": [
            {
                "name": WORKER,
                "replicas": 1,
                "template": {"spec": _job_spec(job, {})},
            }
        ],
    }
    return _object("jobset.x-k8s.io/v1alpha2", "JobSet", job.names.job, job, spec=spec)


def _leader_worker_set(job: PodJob) -> Manifest:
    """One group; its pods are started again by Kubernetes, whatever they end with."""
    template = _template(job)
    template["spec"]["restartPolicy"] = "Always"
    spec = {
        "replicas": 1,
        "startupPolicy": "LeaderCreated",
        "leaderWorkerTemplate": {
            "size": job.nnodes,
            "restartPolicy": "RecreateGroupOnPodRestart",
            "workerTemplate": template,
        },
    }
    return _object("leaderworkerset.x-k8s.io/v1", "LeaderWorkerSet", job.names.job, job, spec=spec)


def _object(version: str, kind: str, name: str, job: PodJob, **rest: Any) -> Manifest:
    metadata: Manifest = {"name": name, "labels": _labels(job)}
    if job.settings.namespace:
        metadata["namespace"] = job.settings.namespace
    if job.settings.annotations:
        metadata["annotations"] = dict(job.settings.annotations)
    made_from = ("Job", "JobSet", "LeaderWorkerSet")
    if job.settings.queue_name and kind in made_from:
        metadata["labels"]["kueue.x-k8s.io/queue-name"] = job.settings.queue_name
    return {"apiVersion": version, "kind": kind, "metadata": metadata, **rest}


def _labels(job: PodJob) -> dict[str, str]:
    own = {
        "app.kubernetes.io/managed-by": "madrun",
        "app.kubernetes.io/name": job.names.job,
        JOB_LABEL: job.names.job,
        "madrun/job-id": job.job_id,
    }
    return {**job.settings.labels, **own}


def _template(job: PodJob) -> Manifest:
    settings = job.settings
    metadata: Manifest = {"labels": _labels(job)}
    if settings.annotations:
        metadata["annotations"] = dict(settings.annotations)
    volumes, mounts = _volumes(job)
    spec: Manifest = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": math.ceil(job.grace) + _END_ALLOWANCE,
        "automountServiceAccountToken": bool(settings.service_account),
        "enableServiceLinks": False,
        **({"subdomain": job.names.service} if settings.kind == JOB else {}),
        **_placement(settings),
        "containers": [_main(job, mounts)],
        "volumes": volumes,
    }
    if settings.agent_image:
        spec["initContainers"] = [_agent_copy(settings)]
    if settings.host_network:
        spec |= {"hostNetwork": True, "dnsPolicy": "ClusterFirstWithHostNet"}
    if settings.host_ipc:
        spec["hostIPC"] = True
    if settings.pull_secrets:
        spec["imagePullSecrets"] = [{"name": name} for name in settings.pull_secrets]
    return {"metadata": metadata, "spec": spec}


def _placement(settings: Settings) -> Manifest:
    found: Manifest = {}
    if settings.node_selector:
        found["nodeSelector"] = dict(settings.node_selector)
    if settings.tolerations:
        found["tolerations"] = [dict(each) for each in settings.tolerations]
    if settings.priority_class:
        found["priorityClassName"] = settings.priority_class
    if settings.service_account:
        found["serviceAccountName"] = settings.service_account
    return found


def _main(job: PodJob, mounts: Sequence[Manifest]) -> Manifest:
    settings = job.settings
    container: Manifest = {
        "name": MAIN,
        "image": settings.image,
        # Constant words, and nothing of the user's among them.
        "command": list(job.program),
        "env": _environment(job),
        "resources": _resources(settings),
        "securityContext": {"allowPrivilegeEscalation": False},
        "volumeMounts": list(mounts),
    }
    if settings.image_pull_policy:
        container["imagePullPolicy"] = settings.image_pull_policy
    if settings.env_from:
        references = {"secret": "secretRef", "config_map": "configMapRef"}
        container["envFrom"] = [
            {references[kind]: {"name": name}}
            for each in settings.env_from
            for kind, name in each.items()
        ]
    if job.ports:
        container["ports"] = [
            {"name": name, "containerPort": port} for name, port in job.ports.items()
        ]
    return container


def _environment(job: PodJob) -> list[Manifest]:
    env: list[Manifest] = [
        # The agent's own modules only; workers do not see it.
        {"name": "PYTHONSAFEPATH", "value": "1"},
        {"name": "MADRUN_NODE_NAME", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
    ]
    for name, value in job.env.items():
        if value == INDEX_OF_POD:
            env.append({"name": name, "valueFrom": {"fieldRef": {"fieldPath": _INDEX}}})
        else:
            env.append({"name": name, "value": value.replace("$", "$$")})
    return env


INDEX_OF_POD = "(the pod's index)"  # as the value of a variable


def _resources(settings: Settings) -> Manifest:
    """A device is a limit; what is asked for without a limit is a request alone."""
    requests = {"memory": settings.memory, "cpu": settings.cpu}
    limits = {"memory": settings.memory_limit, "cpu": settings.cpu_limit}
    if settings.devices:
        requests[settings.device] = limits[settings.device] = str(settings.devices)
    found = {"requests": requests, "limits": limits}
    kept = {name: {key: each for key, each in of.items() if each} for name, of in found.items()}
    return {name: of for name, of in kept.items() if of}


def _agent_copy(settings: Settings) -> Manifest:
    return {
        "name": "agent",
        "image": settings.agent_image,
        "command": ["cp", "-a", f"{_AGENT}/.", "/madrun-agent"],
        "securityContext": {"allowPrivilegeEscalation": False},
        "volumeMounts": [{"name": "agent", "mountPath": "/madrun-agent"}],
    }


def _volumes(job: PodJob) -> tuple[list[Manifest], list[Manifest]]:
    """The volumes, and where the main container has them."""
    settings = job.settings
    shm: Manifest = {"medium": "Memory"}
    if settings.shm_size:
        shm["sizeLimit"] = settings.shm_size
    places: list[tuple[str, Manifest, Manifest]] = [
        ("job", {"secret": {"secretName": job.names.secret, "defaultMode": 0o444}},
         {"mountPath": FOLDERS.job, "readOnly": True}),
        ("shm", {"emptyDir": shm}, {"mountPath": "/dev/shm"}),
        ("work", {"emptyDir": {}}, {"mountPath": FOLDERS.work}),
        ("jobs", {"emptyDir": {}}, {"mountPath": FOLDERS.jobs}),
    ]  # fmt: skip
    if job.files:
        source = {"name": job.names.code, "items": [
            {"key": file.key, "path": file.path, "mode": file.mode} for file in job.files
        ]}  # fmt: skip
        places.append(
            ("code", {"configMap": source}, {"mountPath": FOLDERS.shipped, "readOnly": True})
        )
    if settings.agent_image:
        places.append(("agent", {"emptyDir": {}}, {"mountPath": _AGENT}))
    for name, claim, where in (
        ("data", settings.data_pvc, DATA), ("results", settings.results_pvc, RESULTS),
    ):  # fmt: skip
        if claim:
            places.append((name, _claim(claim), {"mountPath": where}))
    places += [_user_volume(at, each) for at, each in enumerate(settings.volumes)]
    volumes = [{"name": name, **source} for name, source, _ in places]
    return volumes, [{"name": name, **mount} for name, _, mount in places]


def _claim(name: str) -> Manifest:
    return {"persistentVolumeClaim": {"claimName": name}}


def _user_volume(at: int, volume: Mapping[str, str]) -> tuple[str, Manifest, Manifest]:
    mount: Manifest = {"mountPath": volume["mount_path"]}
    if volume.get("sub_path"):
        mount["subPath"] = volume["sub_path"]
    if volume.get("read_only") == "true":
        mount["readOnly"] = True
    if "pvc" in volume:
        source = _claim(volume["pvc"])
    elif "config_map" in volume:
        source = {"configMap": {"name": volume["config_map"]}}
    elif "secret" in volume:
        source = {"secret": {"secretName": volume["secret"]}}
    elif "host_path" in volume:
        source = {"hostPath": {"path": volume["host_path"]}}
    else:
        source = {"emptyDir": {"medium": "Memory"} if volume["empty_dir"] == "memory" else {}}
    return f"user-{at}", source, mount


def _coded(content: Mapping[str, bytes]) -> dict[str, str]:
    return {name: base64.b64encode(data).decode() for name, data in content.items()}
