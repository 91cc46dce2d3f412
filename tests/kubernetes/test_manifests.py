"""What is made in a cluster, as data: valid for several Kubernetes, and as the user asked."""

from __future__ import annotations

import base64
import json
import os
import stat
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from madrun.agent.standalone import pod_job as pod_files
from madrun.backends.kubernetes.cluster_job import NEEDED
from madrun.backends.kubernetes.code import MOST_BYTES, shipped
from madrun.backends.kubernetes.manifests import Manifest, PodJob, manifests, owned
from madrun.backends.kubernetes.request import pod_job
from madrun.backends.kubernetes.text import shown
from madrun.launchers.registry import own_names
from madrun.runner.cli import parsed
from madrun.runner.plan import Plan, make_plan
from madrun.system.errors import InputError

VERSIONS = ("1.30", "1.32", "1.34", "1.37")
OPTIONS = {
    "primus": ["--launcher-opt", "config_path=exp.yaml"],
    "deepspeed": [],
}
KINDS = {"Job", "Service", "Secret", "ConfigMap"}


def planned(*words: str) -> Plan:
    """The plan of a command line for Kubernetes."""
    request = parsed(["--backend", "kubernetes", "--image", "registry/train:1", *words])
    return make_plan(request, {}, os.getcwd(), "/runner/python")


def job_of(*words: str, attached: bool = False) -> PodJob:
    plan = planned(*words)
    return pod_job(plan.request, plan.spec, os.getcwd(), attached)


def made_by(*words: str, hide: bool = False) -> dict[str, Manifest]:
    """The manifests of a command line, by kind."""
    return {each["kind"]: each for each in manifests(job_of(*words), hide)}


def told(job: PodJob) -> pod_files.PodJob:
    """What the pods read."""
    return pod_files.decode(job.secret[pod_files.JOB_FILE])


def pod_of(made: dict[str, Manifest]) -> Any:
    return made["Job"]["spec"]["template"]["spec"]


def main_of(made: dict[str, Manifest]) -> Any:
    return pod_of(made)["containers"][0]


@pytest.mark.parametrize("launcher", own_names())
@pytest.mark.parametrize("nodes", [1, 2, 5])
def test_every_launcher_on_every_size_is_valid_for_four_kubernetes(
    launcher: str, nodes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("train.py").write_text("print('ä')\n", encoding="utf-8")
    Path("blob").write_bytes(b"\xff\xfe")
    words = ["--nnodes", str(nodes), "--nproc-per-node", "8", "--launcher", launcher]
    words += [*OPTIONS.get(launcher, []), "--ship", ".", *EVERYTHING, "train.py", "--x"]
    if launcher == "sglang-disagg" and nodes < 3:
        with pytest.raises(InputError, match="requires minimum 3 nodes"):
            made_by(*words)
        return
    made = made_by(*words)
    assert set(made) == KINDS
    for version in VERSIONS:
        for each in made.values():
            kubernetes_validate.validate(each, version, strict=True)
    assert pod_of(made)["subdomain"] == made["Service"]["metadata"]["name"]
    job = made["Job"]["spec"]
    assert (job["completions"], job["parallelism"], job["backoffLimit"]) == (nodes, nodes, 0)


EVERYTHING = [
    word
    for setting in (
        "namespace=team", "memory=16Gi", "memory_limit=32Gi", "cpu=8", "cpu_limit=16",
        "shm_size=8Gi", "ttl_seconds_after_finished=60", "active_deadline_seconds=3600",
        'node_selector={"pool": "gpu"}', "priority_class=high", "queue_name=team-queue",
        'tolerations=[{"key": "gpu", "operator": "Exists", "tolerationSeconds": 5}]',
        'labels={"team": "a"}', 'annotations={"note": "any text"}', "host_ipc", "host_network",
        'secrets={"image_pull_secrets": ["pull"], "env": ["tokens"]}', "data_pvc=data",
        'env_from=[{"config_map": "settings"}]', "results_pvc=results", "service_account=train",
        'volumes=[{"pvc": "c", "mount_path": "/c", "sub_path": "x", "read_only": true},'
        ' {"empty_dir": "memory", "mount_path": "/m"}, {"host_path": "/h", "mount_path": "/h"},'
        ' {"secret": "s", "mount_path": "/s"}, {"config_map": "m", "mount_path": "/cm"}]',
        "image_pull_policy=IfNotPresent",
    )
    for word in ("--k8s", setting)
] + ["--agent-image", "registry/madrun:1"]  # fmt: skip


def test_the_usual_job() -> None:
    made = made_by("--nnodes", "2", "--nproc-per-node", "8", "train.py")
    job, pod, main = made["Job"]["spec"], pod_of(made), main_of(made)
    assert job["completionMode"] == "Indexed"
    ignore, fail = job["podFailurePolicy"]["rules"]
    assert ignore["onPodConditions"] == [{"type": "DisruptionTarget", "status": "True"}]
    assert fail["onExitCodes"] == {"containerName": "main", "operator": "NotIn", "values": [0]}
    assert (pod["restartPolicy"], pod["automountServiceAccountToken"]) == ("Never", False)
    assert main["resources"]["limits"] == {"nvidia.com/gpu": "8"}
    assert main["securityContext"] == {"allowPrivilegeEscalation": False}
    assert "runAsUser" not in json.dumps(made)
    shm = next(volume for volume in pod["volumes"] if volume["name"] == "shm")
    assert shm == {"name": "shm", "emptyDir": {"medium": "Memory"}}
    assert made["Service"]["spec"]["publishNotReadyAddresses"] is True


def test_nothing_of_the_user_is_in_a_command_or_outside_of_the_secret() -> None:
    words = ["--nnodes", "2", "--nproc-per-node", "1", "--export", "TOKEN=hunter2"]
    job = job_of(*words, "--no-python", "run", "--password=sesame", "$(id) $$HOME")
    public = [each for each in manifests(job) if each["kind"] != "Secret"]
    assert "hunter2" not in json.dumps(public)
    assert "sesame" not in json.dumps(public)
    hidden = json.dumps(manifests(job, hide=True))
    for secret in (b"hunter2", job.secret["key"], b"sesame"):
        assert secret.decode() not in hidden
        assert base64.b64encode(secret).decode() not in hidden
    assert told(job).spec.argv == ("run", "--password=sesame", "$(id) $$HOME")
    assert told(job).spec.env["TOKEN"] == "hunter2"


def test_paths_of_this_machine_do_not_travel_unless_asked() -> None:
    words = ["--backend", "kubernetes", "--image", "i", "--export", "LD_LIBRARY_PATH", "x.py"]
    there = {"PATH": "/here", "PYTHONPATH": "/here", "CONDA_PREFIX": "/here", "NCCL_DEBUG": "INFO",
             "LD_LIBRARY_PATH": "/asked"}  # fmt: skip
    env = make_plan(parsed(words), there, os.getcwd(), "python").spec.env
    assert env == {"NCCL_DEBUG": "INFO", "LD_LIBRARY_PATH": "/asked"}


def test_two_jobs_of_one_script_have_other_names_and_keys() -> None:
    jobs = [job_of("--nproc-per-node", "1", "train.py") for _ in range(2)]
    assert len({job.names.job for job in jobs}) == 2
    assert len({job.secret["key"] for job in jobs}) == 2


@pytest.mark.parametrize("program", ["x" * 300 + ".py", "Ünï_code.py", "--", "9.py", "a" * 40])
def test_names_are_labels_that_have_room_for_the_index(program: str) -> None:
    job = job_of("--nnodes", "1000", "--nproc-per-node", "1", "--", program)
    for name in (job.names.pod_host(999), job.names.code, f"{job.names.pod_host(999)}-abcde"):
        assert len(name) <= 63
        assert name[0].isalpha()
        assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
    assert told(job).spec.world.hosts[0] == job.names.pod_host(0)


def test_the_master_is_pod_0_by_its_name() -> None:
    job = job_of("--nnodes", "2", "--nproc-per-node", "1", "train.py")
    assert told(job).spec.master.addr == f"{job.names.job}-0.{job.names.job}"
    assert told(job_of("--nproc-per-node", "1", "train.py")).spec.master.addr == ""


def test_gpus_follow_from_the_workers_and_the_vendor(tmp_path: Path) -> None:
    def resources(*words: str) -> Any:
        return main_of(made_by(*words, "train.py"))["resources"].get("limits", {})

    assert resources("--nproc-per-node", "4") == {"nvidia.com/gpu": "4"}
    assert resources("--k8s", "gpu_count=8", "--nproc-per-node", "4") == {"nvidia.com/gpu": "8"}
    assert resources("--k8s", "gpu_count=0", "--nproc-per-node", "4") == {}
    assert resources() == {}
    amd = ["--additional-context", "{'gpu_vendor': 'AMD', 'k8s': {'gpu_count': 2}}"]
    assert resources(*amd) == {"amd.com/gpu": "2"}
    assert told(job_of(*amd, "train.py")).spec.world.world_size == 2
    mig = "gpu_resource_name=nvidia.com/mig-1g.5gb"
    assert resources("--k8s", mig, "--nproc-per-node", "1") == {"nvidia.com/mig-1g.5gb": "1"}


def test_sglang_disagg_has_the_variables_of_its_scripts() -> None:
    words = ["--nnodes", "5", "--nproc-per-node", "8", "--launcher", "sglang-disagg"]
    options = ["--launcher-opt", "prefill_nodes=2", "--launcher-opt", "decode_nodes=2"]
    env = {
        each["name"]: each.get("value") for each in main_of(made_by(*words, *options, "M"))["env"]
    }
    assert (env["TOTAL_PODS"], env["PREFILL_COUNT"], env["DECODE_COUNT"]) == ("5", "2", "2")
    assert (env["TP_SIZE"], env["POD_INDEX"]) == ("8", None)


def test_vllm_is_replicas_behind_one_service_unless_asked_otherwise() -> None:
    words = ["--nnodes", "2", "--nproc-per-node", "1", "--launcher", "vllm"]
    job = job_of(*words, "org/M")
    assert told(job).spec.options["mode"] == "replicas"
    assert manifests(job)[1]["spec"]["ports"] == [{"name": "http", "port": 8000}]
    asked = job_of(*words, "--launcher-opt", "mode=ray", "org/M")
    assert told(asked).spec.options["mode"] == "ray"


def test_the_owned_go_with_their_owner() -> None:
    made = made_by("--nproc-per-node", "1", "train.py")
    job = made["Job"] | {"metadata": {"name": "train", "uid": "u-1"}}
    for kind in ("Service", "Secret"):
        (owner,) = owned(made[kind], job)["metadata"]["ownerReferences"]
        assert owner == {"apiVersion": "batch/v1", "kind": "Job", "name": "train", "uid": "u-1"}


@pytest.mark.parametrize("kind", ["jobset", "leaderworkerset"])
def test_other_controllers_have_their_own_pods_and_service(kind: str) -> None:
    words = ["--nnodes", "2", "--nproc-per-node", "1", "--k8s", f"kind={kind}"]
    job = job_of(*words, "train.py")
    kinds = [each["kind"] for each in manifests(job)]
    assert kinds == [{"jobset": "JobSet", "leaderworkerset": "LeaderWorkerSet"}[kind], "Secret"]
    assert told(job).address == job.names.address(0)
    with pytest.raises(InputError, match="only --dry-run writes it"):
        job_of(*words, "train.py", attached=True)


# ---- what is shipped


def test_a_folder_keeps_its_places_and_its_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "src" / "deep").mkdir(parents=True)
    (tmp_path / "src" / ".git").mkdir()
    (tmp_path / "src" / ".git" / "x").write_text("no")
    run = tmp_path / "src" / "deep" / "run.sh"
    run.write_text("#!/bin/sh\n")
    run.chmod(run.stat().st_mode | stat.S_IXUSR)
    (tmp_path / "src" / "blob").write_bytes(b"\xff\0")
    files = {file.path: file for file in shipped(["src"], str(tmp_path))}
    assert set(files) == {"src/deep/run.sh", "src/blob"}
    assert files["src/deep/run.sh"].mode == 0o555
    made = made_by("--nproc-per-node", "1", "--ship", "src", "--no-python", "src/deep/run.sh")
    assert base64.b64decode(made["ConfigMap"]["binaryData"]["file-0000"]) == b"\xff\0"
    volume = next(each for each in pod_of(made)["volumes"] if each["name"] == "code")
    assert volume["configMap"]["items"][1] == {
        "key": "file-0001", "path": "src/deep/run.sh", "mode": 0o555,
    }  # fmt: skip


def test_what_is_too_large_for_a_config_map_is_an_error_that_says_what_else(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(b"x" * (MOST_BYTES + 1))
    with pytest.raises(InputError, match=r"1048576 bytes.*model.bin.*--image.*volume.*git"):
        shipped(["model.bin"], str(tmp_path))


# ---- mistakes


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--hosts", "a:1"], "--hosts: Kubernetes chooses the nodes"),
        (["--include", "a"], "--include: Kubernetes chooses the nodes"),
        (["--k8s", "memry=1Gi"], "no such setting; did you mean 'memory'?"),
        (["--k8s", "memory=1GB"], "--k8s memory must be an amount as 16Gi"),
        (["--k8s", "memory_limit=1Gi"], "memory_limit without memory"),
        (["--k8s", "namespace=Team_A"], "namespace must be a name of lower-case letters"),
        (["--k8s", "tolerations=[{\"keys\": 1}]"], r"tolerations\[0\]: unknown key 'keys'"),
        (["--k8s", "volumes=[{\"pvc\": \"a\"}]"], r"volumes\[0\] needs mount_path and one of"),
        (["--k8s", "gpu_count=2", "--nproc-per-node", "4"], "more workers than GPUs"),
        (["--nproc-per-node", "gpu"], "no node is asked before: give a number"),
        (["--ssh-user", "me"], "--ssh-user: nobody logs in"),
        (["--ship", "missing"], "--ship missing: there is no such file"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)  # fmt: skip
def test_a_mistake_is_found_before_anything_is_made(words: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        job_of(*words, "train.py")


def test_no_image_is_an_error() -> None:
    request = parsed(["--backend", "kubernetes", "train.py"])
    plan = make_plan(request, {}, os.getcwd(), "python")
    with pytest.raises(InputError, match="--image is needed"):
        pod_job(plan.request, plan.spec, os.getcwd(), attached=False)


def test_a_launch_has_time_to_pull_an_image_unless_it_is_said() -> None:
    words = ("--nproc-per-node", "1", "x")
    assert told(job_of(*words)).spec.limits.launch == 600
    assert told(job_of("--launch-timeout", "60", *words)).spec.limits.launch == 60


def test_the_spec_arrives_as_it_was() -> None:
    job = job_of("--nnodes", "2", "--nproc-per-node", "2", "--grace", "3", "--output", "first", "x")
    there = told(job)
    assert there.request.limits.grace == 3
    assert there.request.console.output == "first"
    assert there.spec.limits.grace == 3
    assert there.spec.world.hosts == (job.names.pod_host(0), job.names.pod_host(1))


# ---- the page


def test_the_role_of_the_page_is_exactly_what_is_needed() -> None:
    page = Path(__file__).resolve().parents[2] / "docs" / "kubernetes.md"
    _, _, rest = page.read_text(encoding="utf-8").partition("```yaml\n")
    role = yaml.safe_load(rest.partition("```")[0])
    there = {
        (verb, resource, group)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    assert there == {tuple(each) for each in NEEDED}
    kubernetes_validate.validate(role, "1.37", strict=True)


def test_a_dry_run_is_yaml_that_is_the_same_as_its_json() -> None:
    job = job_of("--nnodes", "2", "--nproc-per-node", "1", "--ship", __file__, "train.py")
    documents = list(yaml.safe_load_all(shown(job, as_json=False, hide=True)))
    assert documents == json.loads(shown(job, as_json=True, hide=True))["items"]
    assert documents == manifests(job, hide=True)
