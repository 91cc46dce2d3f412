"""The command as users of a Kubernetes cluster type it, and what it leaves there."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from madrun.backends.kubernetes.api import Api, connect
from madrun.backends.kubernetes.settings import Settings
from standins.kubernetes_api.jobs import delete_job
from standins.kubernetes_api.server import ApiServer
from support.cluster import BIN
from support.programs import PATIENCE
from testbed.processes import descendants

OWNED = ("pods", "services", "secrets", "configmaps")
_GONE = 20.0  # seconds for the garbage collector


class Kube:
    """Commands of a user who has a kubeconfig."""

    def __init__(self, kubeconfig: Path, image: str, jobs: Path, api: ApiServer | None) -> None:
        self.kubeconfig, self.image, self.jobs, self._api = kubeconfig, image, jobs, api
        self._admin = kubeconfig
        self.processes: list[subprocess.Popen[str]] = []

    @property
    def api(self) -> ApiServer:
        """The stand-in; a test that needs its bad days is skipped on a real cluster."""
        if self._api is None:
            pytest.skip("only the stand-in can be broken so")
        return self._api

    def words(self, *args: str | os.PathLike[str]) -> list[str]:
        """A command line for this cluster."""
        image = [] if "--image" in args else ["--image", self.image]
        program = str(BIN / "madrun")
        return [program, "--backend", "kubernetes", *image, *map(str, args)]

    def start(self, *args: str | os.PathLike[str], **options: Any) -> subprocess.Popen[str]:
        """Start a job; 0 GPUs unless the words ask for some."""
        words = [] if any("gpu_count" in str(each) for each in args) else ["--k8s", "gpu_count=0"]
        options = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE,
                   "stderr": subprocess.PIPE, **options}  # fmt: skip
        env = {**os.environ, "KUBECONFIG": str(self.kubeconfig), "MADRUN_JOB_DIR": str(self.jobs)}
        process = subprocess.Popen(
            self.words(*words, *args), text=True, env=env, start_new_session=True, **options
        )
        self.processes.append(process)
        return process

    def run(
        self, *args: str | os.PathLike[str], input: str | None = None, patience: float = PATIENCE
    ) -> subprocess.CompletedProcess[str]:
        """Run a job to its end."""
        stdin = subprocess.DEVNULL if input is None else subprocess.PIPE
        process = self.start(*args, stdin=stdin)
        out, err = process.communicate(input, timeout=patience)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    @property
    def client(self) -> Api:
        """The API server as the tests themselves see it."""
        return connect(Settings(kubeconfig=str(self._admin)), {})

    def left(self) -> list[str]:
        """What of jobs is still there; the last of it goes a moment after the command."""
        deadline = time.monotonic() + _GONE
        while (found := self.there()) and time.monotonic() < deadline:
            time.sleep(0.1)
        return found

    def there(self) -> list[str]:
        """What of jobs is there now."""
        kinds = [("batch/v1", "jobs"), *(("v1", name) for name in OWNED)]
        client, query = self.client, {"labelSelector": "app.kubernetes.io/managed-by=madrun"}
        return [
            f"{kind} {each['metadata']['name']}"
            for group, kind in kinds
            for each in client.request("GET", client.path(group, kind), query=query)["items"]
        ]

    def conditions(self, job: str) -> set[str]:
        """What a Job has come to."""
        client = self.client
        found = client.request("GET", client.path("batch/v1", "jobs", job))["status"]
        return {each["type"] for each in found.get("conditions", ())}

    def log(self, job: str, index: int = 0) -> str:
        """What a pod of a job has written."""
        client, query = self.client, {"labelSelector": f"madrun/job={job}"}
        pods = client.request("GET", client.path("v1", "pods"), query=query)["items"]
        names = [each["metadata"]["name"] for each in pods]
        (name,) = (each for each in names if f"-{index}-" in each)
        path = client.path("v1", "pods", name) + "/log"
        with client.stream(path, {"container": "main"}, 10) as answer:
            text: bytes = answer.read()
        return text.decode()

    def pod(self, index: int) -> Any:
        """The stand-in's pod of this index."""
        found = self.api.nodes.pods.values()
        return next(each for each in found if f"-{index}-" in each.name)

    def kill_agent(self, index: int) -> None:
        """The core of a pod's agent, which coordinates the job in pod 0."""
        first = self.pod(index).pid()
        cores = [each for each in descendants(first) if "madrun.agent" in each.argv]
        os.kill(max(each.outer_pid for each in cores), signal.SIGKILL)

    def delete_job(self) -> None:
        """As a colleague does, with kubectl."""
        (job,) = self.api.store.list("jobs", "default")
        key = ("jobs", "default", job["metadata"]["name"])
        delete_job(self.api.store, key, {"propagationPolicy": "Foreground"})

    def wait_for(self, question: Callable[[], bool]) -> None:
        """Wait until something in the cluster is so; to ask is all that can be done."""
        deadline = time.monotonic() + PATIENCE
        while not question():
            assert time.monotonic() < deadline, "it does not come to that"
            time.sleep(0.1)

    @staticmethod
    def kill(process: subprocess.Popen[str]) -> None:
        """The command and its guard, at once."""
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=PATIENCE)

    def end(self) -> None:
        """Kill what a test has left."""
        for process in self.processes:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate(timeout=PATIENCE)


def until(process: subprocess.Popen[str], text: str, lines: list[str] | None = None) -> list[str]:
    """Read stdout until a line has this; the lines so far."""
    assert process.stdout is not None
    found = [] if lines is None else lines
    for line in process.stdout:
        found.append(line)
        if text in line:
            return found
    raise AssertionError(
        f"{text!r} was not seen: {found} {process.stderr and process.stderr.read()}"
    )
