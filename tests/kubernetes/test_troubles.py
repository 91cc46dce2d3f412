"""What goes wrong in a cluster, and what a user is told of it."""

from __future__ import annotations

import os
import re
import signal
import time

import pytest

from madrun.backends.kubernetes.cluster_job import NEEDED, Permission
from standins.kubernetes_api.server import evict
from support.kube import Kube, until
from support.programs import PATIENCE

HOLD = "import time; print('up', flush=True); time.sleep(1000)"
STEPS = """
import sys, time
for step in range(14):
    print(f"step {step}", flush=True)
    time.sleep(0.5)
"""
PYTHON = ("--no-python", "python3", "-c")
ONE = ("--nproc-per-node", "1", *PYTHON)
TWO = ("--nnodes", "2", *ONE)


def not_started(kube: Kube, *words: str) -> str:
    """What a job that does not start says last; nothing is left of it."""
    done = kube.run("--launch-timeout", "8", *words)
    assert done.returncode == 125, done.stderr
    assert kube.left() == []
    assert done.stdout == ""
    return done.stderr


# ---- pods that do not start


def test_no_node_has_so_many_gpus(kube: Kube) -> None:
    told = not_started(kube, "--k8s", "gpu_count=9", *ONE, HOLD)
    assert re.search(
        r"madrun: python3-\w{6}-0: Pending: 0/\d+ nodes are available: \d+ Insufficient nvidia",
        told,
    )
    assert "the job was not started: 1 of 1 pods cannot run it\n" in told


def test_some_fit_and_some_do_not(kube: Kube) -> None:
    assert len(kube.api.nodes.pods) == 0, "with four nodes, each for one pod"
    told = not_started(kube, "--nnodes", "5", *ONE, HOLD)
    assert "the job was not started: 1 of 5 pods cannot run it\n" in told
    assert "4 Too many pods" in told


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        ("IfNotPresent", r"its image cannot be pulled \(ImagePullBackOff\): Back-off pulling"),
        ("Never", r"its container cannot be made \(ErrImageNeverPull\): Container image .*x:1"),
    ],
)
def test_an_image_that_is_not_there(kube: Kube, policy: str, words: str) -> None:
    begun = time.monotonic()
    image = ["--image", "registry.example/x:1", "--k8s", f"image_pull_policy={policy}"]
    done = kube.run("--launch-timeout", "1000", *image, *TWO, HOLD)
    assert done.returncode == 125
    assert re.search(rf"python3-\w{{6}}-\d  {words}", done.stderr), done.stderr
    assert kube.left() == []
    assert time.monotonic() - begun < 1000


def test_a_volume_that_is_not_there(kube: Kube) -> None:
    volume = '[{"config_map": "missing", "mount_path": "/run/madrun/c"}]'
    told = not_started(kube, "--k8s", f"volumes={volume}", *ONE, HOLD)
    assert "FailedMount: MountVolume.SetUp failed for volume" in told


def test_a_quota_that_is_used_up(kube: Kube) -> None:
    kube.api.controller.pods_per_namespace = 1
    told = not_started(kube, *TWO, HOLD)
    assert "FailedCreate: Error creating: pods" in told
    assert "exceeded quota" in told
    assert re.search(r"python3-\w{6}-1  Kubernetes has not made the pod within 8 s", told)


def test_a_program_that_is_not_there(kube: Kube) -> None:
    done = kube.run("--nnodes", "2", "--nproc-per-node", "1", "--no-python", "no-such-program")
    assert done.returncode == 127, done.stderr
    assert "program 'no-such-program' is not found on the PATH" in done.stderr
    assert kube.left() == []


def test_an_image_without_madrun(kube: Kube) -> None:
    """The agent's interpreter is another one here, as it is in such an image."""
    assert kube.api.requests == [], "whose nodes have such an interpreter"
    told = not_started(kube, "--remote-python", "/usr/bin/python3", *TWO, HOLD)
    assert "the image has no madrun: --agent-image names an image to copy it from" in told


# ---- who may, and where


def test_a_namespace_that_is_not_there(kube: Kube) -> None:
    done = kube.run("--k8s", "namespace=nowhere", *ONE, HOLD)
    assert done.returncode == 125
    assert re.search(
        r'the Job python3-\w+ was not made: namespaces "nowhere" not found', done.stderr
    )


@pytest.mark.parametrize("missing", NEEDED, ids=lambda each: f"{each.verb} {each.resource}")
def test_each_verb_of_the_role_is_needed_and_named(kube: Kube, missing: Permission) -> None:
    rules = {(each.verb, each.resource, each.group) for each in NEEDED if each != missing}
    kube.api.rules["alice"] = rules
    kube.kubeconfig = kube.api.kubeconfig(kube.kubeconfig.parent, "alice")
    done = kube.run("--ship", __file__, *ONE, HOLD)
    assert done.returncode == 125
    assert f"this user to {missing.verb} {missing.resource} in the namespace default" in done.stderr
    assert "docs/kubernetes.md has the Role" in done.stderr
    assert ("POST", "/apis/batch/v1/namespaces/default/jobs") not in kube.api.requests


def test_exactly_the_role_is_enough(kube: Kube) -> None:
    kube.api.rules["alice"] = {(each.verb, each.resource, each.group) for each in NEEDED}
    kube.kubeconfig = kube.api.kubeconfig(kube.kubeconfig.parent, "alice")
    done = kube.run(*TWO, "print('well')")
    assert (done.returncode, done.stdout.count("well")) == (0, 2), done.stderr
    assert kube.left() == []


def test_credentials_that_nobody_knows(kube: Kube) -> None:
    kube.kubeconfig = kube.api.kubeconfig(kube.kubeconfig.parent, "stranger")
    done = kube.run(*ONE, HOLD)
    assert done.returncode == 125
    assert "the API server does not know these credentials" in done.stderr


def test_no_kubeconfig(kube: Kube) -> None:
    done = kube.run("--k8s", "kubeconfig=/no/such/file", *ONE, HOLD)
    assert done.returncode == 2
    assert "kubeconfig" in done.stderr
    assert "Traceback" not in done.stderr


# ---- what happens to a job that runs


def test_an_api_server_that_is_away_for_a_while(kube: Kube) -> None:
    """MADRUN_TEST_AWAY says for how many seconds."""
    job = kube.start(*TWO, STEPS)
    lines = until(job, "step 2")
    kube.api.stop()
    time.sleep(float(os.environ.get("MADRUN_TEST_AWAY", "4")))
    kube.api.start()
    out, err = job.communicate(timeout=PATIENCE)
    assert job.returncode == 0, err
    text = "".join(lines) + out
    assert [text.count(f"step {step}\n") for step in range(14)] == [2] * 14
    assert kube.left() == []


def test_an_api_server_that_has_no_time(kube: Kube) -> None:
    kube.api.busy = 3
    done = kube.run(*ONE, "print('well')")
    assert done.returncode == 0, done.stderr
    assert kube.left() == []


def test_a_pod_0_that_runs_and_is_not_reached(kube: Kube) -> None:
    kube.api.forwards = False
    told = not_started(kube, *TWO, HOLD)
    assert re.search(r"pod python3-\w{6}-0 runs, and is not reached: no port-forward", told), told
    assert "--k8s channel=log follows its log instead" in told


def test_an_evicted_pod_ends_the_job(kube: Kube) -> None:
    job = kube.start(*TWO, HOLD)
    until(job, "up", until(job, "up"))
    pod = kube.pod(1)
    evict(kube.api, pod.name)
    _, err = job.communicate(timeout=PATIENCE)
    assert job.returncode == 143, err
    assert re.search(r"Kubernetes: pod python3-\w{6}-1 was evicted on node node\d\d", err), err
    assert kube.left() == []


@pytest.mark.parametrize("index", [0, 1])
def test_a_pod_that_is_out_of_memory(kube: Kube, index: int) -> None:
    job = kube.start(*TWO, HOLD)
    until(job, "up", until(job, "up"))
    pod = kube.pod(index)
    pod.reason = "OOMKilled"
    pod.signal(signal.SIGKILL)
    _, err = job.communicate(timeout=PATIENCE)
    assert job.returncode == 125, err
    words = r"was killed on node node\d\d because its memory was used up \(OOMKilled\)"
    assert re.search(rf"pod python3-\w{{6}}-{index} {words}", err), err
    assert kube.left() == []


def test_a_job_that_somebody_else_deletes(kube: Kube) -> None:
    job = kube.start(*TWO, HOLD)
    until(job, "up", until(job, "up"))
    kube.delete_job()
    _, err = job.communicate(timeout=PATIENCE)
    assert job.returncode == 143, err
    assert "madrun: stopped by SIGTERM\n" in err
    assert re.search(r"Kubernetes: the job python3-\w{6} was deleted by somebody\n", err)
    assert kube.left() == []


@pytest.mark.parametrize("index", [0, 1])
def test_a_node_that_is_lost(kube: Kube, index: int) -> None:
    """Kubernetes itself would leave such a job as it is: our leases are the verdict."""
    job = kube.start("--grace", "1", *TWO, HOLD)
    until(job, "up", until(job, "up"))
    pod = kube.pod(index)
    kube.api.nodes.silent.add(pod.host)
    pod.signal(signal.SIGKILL)
    until_lost = time.monotonic() + PATIENCE
    kube.wait_for(lambda: job.poll() is not None or time.monotonic() > until_lost - 60)
    kube.api.nodes.silent.clear()
    _, err = job.communicate(timeout=PATIENCE)
    assert job.returncode == 125, err
    assert re.search(rf"python3-\w{{6}}-{index} (was|is) lost", err), err


def test_a_job_in_a_queue_starts_when_the_queue_lets_it(kube: Kube) -> None:
    job = kube.start("--k8s", "queue_name=team", *TWO, "print('up', flush=True)")
    kube.wait_for(lambda: any(each.startswith("secrets ") for each in kube.there()))
    (queued,) = kube.api.store.list("jobs", "default")
    assert queued["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "team"
    assert queued["spec"]["suspend"] is True
    assert kube.api.store.list("pods", "default") == []
    key = ("jobs", "default", queued["metadata"]["name"])
    kube.api.store.change(key, lambda item: item["spec"].update(suspend=False))
    out, err = job.communicate(timeout=PATIENCE)
    assert (job.returncode, out.count("up")) == (0, 2), err


def test_a_detached_job_that_cannot_start_is_removed(kube: Kube) -> None:
    done = kube.run("--detach", "--image", "registry.example/x:1", *TWO, HOLD)
    assert (done.returncode, done.stdout) == (125, "")
    assert "its image cannot be pulled" in done.stderr
    assert kube.left() == []
