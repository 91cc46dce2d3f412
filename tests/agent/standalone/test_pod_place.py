"""A pod's place: environments as the controllers make them, and jobs of hand-made pods."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from madrun.agent.standalone.pod_place import PodPlace, place_of, rank_of
from madrun.agent.standalone.pod_step import first_address, hosts_of
from madrun.system.errors import ClusterError, InputError
from support.cluster import BIN, Cluster
from support.programs import PATIENCE

# As the controllers set them, without what has nothing to do with a place.
ENVIRONMENTS = {
    "Indexed Job": ({"JOB_COMPLETION_INDEX": "3"}, PodPlace("Indexed Job", 3)),
    "JobSet": (
        {"JOB_COMPLETION_INDEX": "1", "JOBSET_NAME": "train", "REPLICATED_JOB_NAME": "worker"},
        PodPlace("Indexed Job", 1),
    ),
    "LeaderWorkerSet": (
        {
            "LWS_LEADER_ADDRESS": "serve-0.serve.team", "LWS_GROUP_SIZE": "4",
            "LWS_WORKER_INDEX": "2",
        },
        PodPlace("LeaderWorkerSet", 2, 4, "serve-0.serve.team"),
    ),
    "Kubeflow Trainer": (
        {
            "PET_NNODES": "2", "PET_NPROC_PER_NODE": "auto", "PET_NODE_RANK": "1",
            "PET_MASTER_ADDR": "job-node-0-0.job", "PET_MASTER_PORT": "29400",
            "JOB_COMPLETION_INDEX": "1",
        },
        PodPlace("Kubeflow Trainer", 1, 2, "job-node-0-0.job", 29400),
    ),
}  # fmt: skip


@pytest.mark.parametrize("controller", ENVIRONMENTS)
def test_a_place_is_what_the_controller_says(controller: str) -> None:
    environ, place = ENVIRONMENTS[controller]
    assert place_of(environ) == place
    assert rank_of(environ) == place.node_rank


def test_outside_of_a_pod_there_is_no_place() -> None:
    assert place_of({"RANK": "1", "HOSTNAME": "train-1"}) is None
    with pytest.raises(ClusterError, match="none of PET_NODE_RANK, LWS_WORKER_INDEX, JOB_COMPL"):
        rank_of({})


def test_what_is_no_number_is_an_error() -> None:
    with pytest.raises(ClusterError, match="JOB_COMPLETION_INDEX='one' is no number"):
        place_of({"JOB_COMPLETION_INDEX": "one"})


@pytest.mark.parametrize(
    ("place", "nnodes", "message"),
    [
        (PodPlace("Indexed Job", 0), None, "--nnodes is needed: the Indexed Job does not tell"),
        (PodPlace("Indexed Job", 2), 2, "--nnodes 2: this is pod 2, counted from 0"),
        (PodPlace("LeaderWorkerSet", 0, 4), 2, "--nnodes 2: the LeaderWorkerSet has 4 pods"),
    ],
)
def test_a_number_of_pods_that_cannot_be(place: PodPlace, nnodes: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        hosts_of(place, nnodes, "train-0")


def test_a_pod_without_a_service_needs_the_address_said() -> None:
    with pytest.raises(InputError, match="--master-addr is needed"):
        first_address(PodPlace("Indexed Job", 1), "train-1")


def test_hand_made_pods_meet_and_end_together(cluster: Cluster, tmp_path: Path) -> None:
    key = cluster.share / "pod-key"
    key.write_bytes(os.urandom(32))
    key.chmod(0o600)
    script = "import os, sys; sys.exit(3 if os.environ['RANK'] == '1' else 0)"
    common = {"KUBERNETES_SERVICE_HOST": "10.96.0.1", "LWS_GROUP_SIZE": "2",
              "LWS_LEADER_ADDRESS": "node01"}  # fmt: skip
    words = ["--nproc-per-node", "1", "--key-file", str(key), "--no-python", sys.executable]
    pods = [
        cluster.popen(
            host, [str(BIN / "madagent"), *words, "-c", script],
            env={**common, "LWS_WORKER_INDEX": str(rank)},
        )
        for rank, host in enumerate(("node01", "node02"))
    ]  # fmt: skip
    ends = [(*pod.communicate(timeout=PATIENCE), pod.returncode) for pod in pods]
    assert [end[2] for end in ends] == [3, 3], ends
    assert "rank 1 on pod-1 failed first: exited with status 3" in ends[0][1]
