"""The controllers: pods of Indexed Jobs, their ends, and what belongs to a Job that is gone."""

from __future__ import annotations

import copy
import threading
from queue import SimpleQueue

from standins.kubernetes_api.store import Key, Object, StatusError, Store, now

INDEX = "batch.kubernetes.io/job-completion-index"
TRACKING = "batch.kubernetes.io/job-tracking"


class JobController:
    """Follows Jobs and pods on a thread of its own."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._queue: SimpleQueue[tuple[str, str, Object] | None] = SimpleQueue()
        store.listeners.append(lambda *what: self._queue.put(what))
        self.pods_per_namespace: int | None = None  # a quota
        self._thread = threading.Thread(target=self._run, name="jobs", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (item := self._queue.get()) is not None:
            resource, kind, content = item
            space = content["metadata"]["namespace"]
            if resource == "jobs" and kind != "DELETED":
                self._sync(("jobs", space, content["metadata"]["name"]))
            elif resource == "jobs":
                self._collect(content)
            elif resource == "pods":
                name = (content["metadata"].get("labels") or {}).get("job-name")
                if name:
                    self._sync(("jobs", space, name))

    def _sync(self, key: Key) -> None:
        job = self._store.find(key)
        if job is None:
            return
        pods = self._pods(job)
        if job["metadata"].get("deletionTimestamp"):
            self._delete(pods)
            if not pods:
                self._store.remove(key)
            return
        types = {each["type"] for each in job["status"].get("conditions", ())}
        if "Failed" in types or "Complete" in types:
            return
        failed = [pod for pod in pods if _exit_code(pod) and not _is_disrupted(pod)]
        if "FailureTarget" in types:
            self._finish(key, job, pods)
        elif failed:
            self._fail(key, failed[0])
        elif not job["spec"].get("suspend"):
            self._complete_or_make(key, job, pods)

    def _complete_or_make(self, key: Key, job: Object, pods: list[Object]) -> None:
        count = job["spec"]["completions"]
        done = {_index(pod) for pod in pods if pod["status"].get("phase") == "Succeeded"}
        if len(done) == count:
            self._condition(key, "SuccessCriteriaMet", "CompletionsReached", "")
            self._condition(key, "Complete", "CompletionsReached", "")
            return
        there = {_index(pod) for pod in pods if not (_is_disrupted(pod) and _has_ended(pod))}
        for index in sorted(set(range(count)) - there):
            self._make(job, index)
        for pod in pods:
            if _is_disrupted(pod) and _has_ended(pod):
                self._store.remove(_key(pod))

    def _make(self, job: Object, index: int) -> None:
        metadata, template = job["metadata"], copy.deepcopy(job["spec"]["template"])
        space, name = metadata["namespace"], metadata["name"]
        most = self.pods_per_namespace
        if most is not None and len(self._store.list("pods", space)) >= most:
            made = f"{name}-{index}-xxxxx"
            self.event(
                space, "Job", name, "FailedCreate", "Warning",
                f'Error creating: pods "{made}" is forbidden: exceeded quota: pods, requested:'
                f" pods=1, used: pods={most}, limited: pods={most}",
            )  # fmt: skip
            return
        labels = {
            **(template["metadata"].get("labels") or {}), "job-name": name, INDEX: str(index),
            "batch.kubernetes.io/job-name": name, "controller-uid": metadata["uid"],
        }  # fmt: skip
        owner = {"apiVersion": "batch/v1", "kind": "Job", "name": name, "uid": metadata["uid"]}
        spec = template["spec"] | {"hostname": f"{name}-{index}"}
        for container in spec["containers"]:
            field = {"fieldRef": {"fieldPath": f"metadata.labels['{INDEX}']"}}
            container.setdefault("env", []).append(
                {"name": "JOB_COMPLETION_INDEX", "valueFrom": field}
            )
        pod: Object = {
            "apiVersion": "v1", "kind": "Pod", "spec": spec, "status": {"phase": "Pending"},
            "metadata": {"generateName": f"{name}-{index}-", "namespace": space, "labels": labels,
                         "ownerReferences": [owner], "finalizers": [TRACKING]},
        }  # fmt: skip
        self._store.create("pods", pod)

    def _fail(self, key: Key, pod: Object) -> None:
        name, code = pod["metadata"]["name"], _exit_code(pod)
        message = f"Container main for pod {key[1]}/{name} failed with exit code {code}"
        self._condition(key, "FailureTarget", "PodFailurePolicy", message)

    def _finish(self, key: Key, job: Object, pods: list[Object]) -> None:
        """The others are told to end; the Job has failed once they have."""
        running = [pod for pod in pods if not _has_ended(pod)]
        self._delete(running)
        if not running:
            target = next(c for c in job["status"]["conditions"] if c["type"] == "FailureTarget")
            self._condition(key, "Failed", target["reason"], target["message"])

    def _delete(self, pods: list[Object]) -> None:
        for pod in pods:
            if _has_ended(pod):
                self._store.remove(_key(pod))
                continue
            self._store.change(
                _key(pod),
                lambda item: item["metadata"].setdefault("deletionTimestamp", now()) and None,
            )

    def _condition(self, key: Key, kind: str, reason: str, message: str) -> None:
        def alter(item: Object) -> None:
            listed = item["status"].setdefault("conditions", [])
            listed.append({"type": kind, "status": "True", "reason": reason, "message": message})

        self._store.change(key, alter)

    def _pods(self, job: Object) -> list[Object]:
        uid = job["metadata"]["uid"]
        found = self._store.list("pods", job["metadata"]["namespace"])
        return [each for each in found if _owner(each) == uid]

    def _collect(self, job: Object) -> None:
        """The garbage collector."""
        for resource in ("services", "secrets", "configmaps", "pods"):
            for each in self._store.list(resource, job["metadata"]["namespace"]):
                if _owner(each) == job["metadata"]["uid"]:
                    self._store.remove((resource, *_key(each)[1:]))

    def event(self, space: str, kind: str, name: str, reason: str, of: str, message: str) -> None:
        """An event, as a controller or a kubelet writes one."""
        item: Object = {
            "apiVersion": "v1", "kind": "Event", "type": of, "reason": reason, "message": message,
            "involvedObject": {"kind": kind, "name": name, "namespace": space}, "count": 1,
            "metadata": {"generateName": f"{name}.", "namespace": space},
            "firstTimestamp": now(), "lastTimestamp": now(), "eventTime": None,
        }  # fmt: skip
        self._store.create("events", item)


def delete_job(store: Store, key: Key, options: Object) -> Object:
    """DELETE, in the foreground or not."""
    job = store.get(key)
    wanted = (options.get("preconditions") or {}).get("uid")
    if wanted and wanted != job["metadata"]["uid"]:
        message = f"Precondition failed: UID in precondition: {wanted}"
        raise StatusError(409, "Conflict", message, name=key[2], kind="jobs")
    if options.get("propagationPolicy") == "Foreground":
        return store.change(key, mark_deleted) or job
    store.remove(key)
    return {"kind": "Status", "status": "Success"}


def mark_deleted(item: Object) -> None:
    item["metadata"].setdefault("deletionTimestamp", now())


def _key(pod: Object) -> Key:
    return "pods", pod["metadata"]["namespace"], pod["metadata"]["name"]


def _owner(item: Object) -> str:
    owners = item["metadata"].get("ownerReferences") or [{}]
    return str(owners[0].get("uid", ""))


def _index(pod: Object) -> int:
    return int(pod["metadata"]["labels"][INDEX])


def _has_ended(pod: Object) -> bool:
    return pod["status"].get("phase") in ("Succeeded", "Failed")


def _exit_code(pod: Object) -> int:
    if not _has_ended(pod):
        return 0
    for each in pod["status"].get("containerStatuses") or ():
        if ended := each["state"].get("terminated"):
            return int(ended["exitCode"])
    return 0


def _is_disrupted(pod: Object) -> bool:
    return any(each["type"] == "DisruptionTarget" for each in pod["status"].get("conditions", ()))
