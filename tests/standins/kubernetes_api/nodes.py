"""The kubelets: a pod's main container is a process on a host of the testbed, in a pid namespace.

A pod has a mount and a host name of its own there; its network is the host's. So a host has one
pod at a time.
"""

from __future__ import annotations

import base64
import ctypes
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from standins.kubernetes_api.jobs import INDEX, JobController
from standins.kubernetes_api.store import Key, Object, Store, now
from support.cluster import BIN, Cluster
from support.programs import PATIENCE
from testbed.kernel import SYSTEM_PATH

IMAGE = "registry.example/train:1"
_CLONE_NEWNET = 0x40000000
_LATENCY = 0.05  # seconds; a real kubelet's are 0.7 until it runs, and 1 to 2 at its end
_ENTER = """
set -e
mkdir -p /run/madrun && mount -t tmpfs none /run/madrun && mkdir /run/madrun/jobs /run/madrun/work
cp -R "$STAGE/." /run/madrun/ && mount --bind "$HOSTS" /etc/hosts && hostname "$POD_HOST"
unset STAGE HOSTS POD_HOST
exec "$@"
"""


class Nodes:
    """Schedules pods on hosts, starts them, and says what becomes of them."""

    def __init__(self, store: Store, controller: JobController, cluster: Cluster | None) -> None:
        self._store, self._controller, self._cluster = store, controller, cluster
        self.gpus = 8
        self.silent: set[str] = set()  # nodes that are not heard of
        self._lock = threading.Lock()
        self._where: dict[str, str] = {}  # host -> pod's uid
        self.pods: dict[str, _Pod] = {}
        self._folder = Path(cluster.share, "pods") if cluster else Path("/nonexistent")
        self._closed = False
        store.listeners.append(self._heard)

    def _heard(self, resource: str, kind: str, item: Object) -> None:
        if resource != "pods":
            return
        uid = item["metadata"]["uid"]
        if kind == "ADDED":
            self.pods[uid] = pod = _Pod(self, item)
            pod.thread.start()
        elif uid in self.pods and (kind == "DELETED" or item["metadata"].get("deletionTimestamp")):
            self.pods[uid].end()

    def close(self) -> None:
        """Kill what runs."""
        self._closed = True
        for pod in list(self.pods.values()):
            pod.end(at_once=True)
        for pod in list(self.pods.values()):
            pod.thread.join(PATIENCE)
        shutil.rmtree(self._folder, ignore_errors=True)

    def running(self, name: str) -> _Pod:
        """The pod of this name."""
        return next(pod for pod in self.pods.values() if pod.name == name)

    def place(self, pod: Object) -> str:
        """A host for a pod; empty where none has room."""
        wanted = int(_limits(pod).get("nvidia.com/gpu", 0))
        with self._lock:
            if self._cluster is None or wanted > self.gpus:
                return ""
            for host in self._cluster.hosts:
                if host not in self._where and host not in self.silent:
                    self._where[host] = pod["metadata"]["uid"]
                    return host
        return ""

    def leave(self, host: str) -> None:
        """The host is free again."""
        with self._lock:
            self._where.pop(host, None)

    def reason(self, pod: Object) -> str:
        """Why the scheduler finds no node."""
        count = len(self._cluster.hosts) if self._cluster else 0
        wanted = int(_limits(pod).get("nvidia.com/gpu", 0))
        what = "Insufficient nvidia.com/gpu" if wanted > self.gpus else "Too many pods"
        return f"0/{count} nodes are available: {count} {what}. no new claims to deallocate"


def _limits(pod: Object) -> Object:
    limits: Object = pod["spec"]["containers"][0].get("resources", {}).get("limits") or {}
    return limits


class _Pod:
    """One pod and its process."""

    def __init__(self, nodes: Nodes, item: Object) -> None:
        self._nodes, self._item = nodes, item
        metadata = item["metadata"]
        self.name, self.uid = metadata["name"], metadata["uid"]
        self.key: Key = ("pods", metadata["namespace"], self.name)
        self.host = ""
        self.log = Path(nodes._folder, self.uid, "log")
        self.process: subprocess.Popen[bytes] | None = None
        self.reason = ""  # what the kubelet is to say of the end
        self._ending = threading.Event()
        self._killed = False
        self.thread = threading.Thread(target=self._run, name=self.name, daemon=True)

    def end(self, at_once: bool = False) -> None:
        """TERM, the grace, KILL."""
        if self._ending.is_set() and not at_once:
            return
        self._ending.set()
        self.signal(signal.SIGKILL if at_once else signal.SIGTERM)
        if not at_once:
            grace = self._item["spec"].get("terminationGracePeriodSeconds", 30)
            timer = threading.Timer(grace, self.signal, [signal.SIGKILL])
            timer.daemon = True
            timer.start()

    def signal(self, number: int) -> None:
        """To the container's first process."""
        pid = self.pid()
        if pid:
            os.kill(pid, number)

    def pid(self) -> int:
        """The first process of the container, as we see it; 0 where it does not run."""
        if self.process is None or self.process.poll() is not None:
            return 0
        try:
            (entered,) = _children(self.process.pid)
            (first,) = _children(entered)
        except (ValueError, OSError):
            return 0
        return first

    # ---- on the thread

    def _run(self) -> None:
        try:
            if self._schedule() and self._images() and self._mount():
                self._start()
            if self.process is None:
                self._ending.wait()
                self._gone_without_a_start()
        finally:
            self._nodes.leave(self.host)

    def _status(self, alter: Callable[[Object], None]) -> None:
        """Say it, unless the node is silent."""
        while self.host in self._nodes.silent and not self._nodes._closed:
            time.sleep(0.05)
        self._nodes._store.change(self.key, lambda item: alter(item["status"]))

    def _event(self, reason: str, message: str) -> None:
        self._nodes._controller.event(self.key[1], "Pod", self.name, reason, "Warning", message)

    def _condition(self, kind: str, value: str, reason: str = "", message: str = "") -> None:
        def alter(status: Object) -> None:
            listed = [each for each in status.get("conditions", ()) if each["type"] != kind]
            found = {"type": kind, "status": value}
            found |= {"reason": reason} if reason else {}
            found |= {"message": message} if message else {}
            status["conditions"] = [*listed, found]

        self._status(alter)

    def _schedule(self) -> bool:
        while not self._ending.is_set():
            self.host = self._nodes.place(self._item)
            if self.host:
                self._nodes._store.change(
                    self.key, lambda item: item["spec"].update(nodeName=self.host)
                )
                self._condition("PodScheduled", "True")
                return True
            self._condition(
                "PodScheduled", "False", "Unschedulable", self._nodes.reason(self._item)
            )
            self._ending.wait(0.1)
        return False

    def _waits(self, reason: str, message: str = "") -> None:
        self._state({"waiting": {"reason": reason, **({"message": message} if message else {})}})

    def _state(self, state: Object, phase: str = "") -> None:
        def alter(status: Object) -> None:
            status["containerStatuses"] = [{"name": "main", "state": state}]
            if phase:
                status["phase"] = phase

        self._status(alter)

    def _images(self) -> bool:
        container = self._item["spec"]["containers"][0]
        image, policy = container["image"], container.get("imagePullPolicy", "IfNotPresent")
        self._waits("ContainerCreating")
        if image == IMAGE:
            return True
        if policy == "Never":
            message = f'Container image "{image}" is not present with pull policy of Never'
            self._waits("ErrImageNeverPull", message)
            return False
        message = f'failed to pull and unpack image "{image}": failed to resolve reference'
        self._waits("ErrImagePull", message)
        self._ending.wait(_LATENCY)
        self._waits("ImagePullBackOff", f'Back-off pulling image "{image}": {message}')
        return False

    def _mount(self) -> bool:
        """Secrets and ConfigMaps as files, once they are there."""
        stage = self.log.parent / "stage"
        spec = self._item["spec"]
        volumes = {each["name"]: each for each in spec["volumes"]}
        for mount in spec["containers"][0]["volumeMounts"]:
            place = mount["mountPath"].removeprefix("/run/madrun/")
            volume = volumes[mount["name"]]
            while (files := self._files(volume)) is None:
                self._event("FailedMount", f'MountVolume.SetUp failed for volume "{mount["name"]}"')
                if self._ending.wait(0.3):
                    return False
            for name, (data, mode) in files.items():
                file = stage / place / name
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(data)
                file.chmod(mode)
        stage.mkdir(parents=True, exist_ok=True)
        return True

    def _files(self, volume: Object) -> dict[str, tuple[bytes, int]] | None:
        """The files of a volume; None where what it names is not there."""
        space = self.key[1]
        if source := volume.get("secret"):
            item = self._nodes._store.find(("secrets", space, source["secretName"]))
            if item is None:
                return None
            data = {name: base64.b64decode(each) for name, each in item.get("data", {}).items()}
            return {name: (each, source.get("defaultMode", 0o644)) for name, each in data.items()}
        if source := volume.get("configMap"):
            item = self._nodes._store.find(("configmaps", space, source["name"]))
            if item is None:
                return None
            content = {name: each.encode() for name, each in item.get("data", {}).items()}
            coded = item.get("binaryData", {}).items()
            content |= {name: base64.b64decode(each) for name, each in coded}
            return {each["path"]: (content[each["key"]], each["mode"]) for each in source["items"]}
        return {}

    def _start(self) -> None:
        cluster = self._nodes._cluster
        assert cluster is not None
        container, stage = self._item["spec"]["containers"][0], self.log.parent / "stage"
        names = self._hosts_file(cluster)
        env = {"PATH": f"{BIN}:{SYSTEM_PATH}", "STAGE": str(stage), "HOSTS": str(names),
               "POD_HOST": self._item["spec"]["hostname"], "KUBERNETES_SERVICE_HOST": "10.96.0.1",
               "HOME": "/root", "LANG": "C.UTF-8", **self._environment(container)}  # fmt: skip
        enter = ["unshare", "--pid", "--fork", "--kill-child", "--mount", "--mount-proc", "--uts"]
        argv = [*enter, "sh", "-c", _ENTER, "pod", *container["command"]]
        with self._nodes._lock, open(self.log, "ab") as log:
            if self._ending.is_set():
                return
            self.process = subprocess.Popen(
                cluster._enter(self.host, argv, cluster.share), env=env, start_new_session=True,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        self._state({"running": {"startedAt": now()}}, "Running")
        self._condition("Ready", "True")
        status = self.process.wait()
        self._ended(128 - status if status < 0 else status)

    def _hosts_file(self, cluster: Cluster) -> Path:
        """What a cluster's DNS would tell: the pods of the same Service."""
        names = Path(cluster.share, "pods", "names")
        with self._nodes._lock:
            names.touch()
            spec, address = self._item["spec"], cluster.state.host(self.host).ip
            with names.open("a") as file:
                file.write(f"{address} {spec['hostname']}.{spec['subdomain']} {spec['hostname']}\n")
        return names

    def _environment(self, container: Object) -> dict[str, str]:
        metadata = self._item["metadata"]
        fields = {f"metadata.labels['{INDEX}']": metadata["labels"].get(INDEX, ""),
                  "spec.nodeName": self.host}  # fmt: skip
        found = {}
        for each in container.get("env", ()):
            if "valueFrom" in each:
                found[each["name"]] = fields[each["valueFrom"]["fieldRef"]["fieldPath"]]
            else:
                found[each["name"]] = each["value"].replace("$$", "$")
        return found

    def _ended(self, code: int) -> None:
        """First the container's end with the phase as it was, then the pod's."""
        reason = self.reason or ("Completed" if code == 0 else "Error")
        ended: dict[str, Any] = {"exitCode": code, "reason": reason, "finishedAt": now()}
        time.sleep(_LATENCY)
        self._state({"terminated": ended})
        time.sleep(_LATENCY)
        self._state({"terminated": ended}, "Failed" if code else "Succeeded")
        item = self._nodes._store.find(self.key)
        if item is not None and item["metadata"].get("deletionTimestamp"):
            self._nodes._store.remove(self.key)

    def _gone_without_a_start(self) -> None:
        ended = {"exitCode": 137, "reason": "ContainerStatusUnknown", "finishedAt": now()}
        self._state({"terminated": ended}, "Failed")
        self._nodes._store.remove(self.key)


def _children(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
    return [int(word) for word in text.split()]


def dial(pid: int, port: int) -> socket.socket:
    """A connection to a port of the loopback that a process sees; the caller's thread is lost to
    that network."""
    fd = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
    try:
        if ctypes.CDLL(None, use_errno=True).setns(fd, _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")
    finally:
        os.close(fd)
    return socket.create_connection(("127.0.0.1", port), timeout=5)
