"""A cluster for the tests: the stand-in with the hosts of the testbed, or a real one.

With MADRUN_TEST_KUBECONFIG, and MADRUN_TEST_IMAGE that has madrun, the tests run on a real one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from standins.kubernetes_api.nodes import IMAGE
from standins.kubernetes_api.server import ApiServer
from support.cluster import Cluster
from support.kube import Kube

REAL = os.environ.get("MADRUN_TEST_KUBECONFIG", "")

if REAL:

    @pytest.fixture(scope="session")
    def cluster() -> None:
        """No hosts of ours are needed."""


@pytest.fixture
def kube(cluster: Cluster | None, tmp_path: Path) -> Iterator[Kube]:
    """Pods on the hosts, or on a real cluster."""
    jobs = tmp_path / "jobs"
    if cluster is None:
        made = Kube(Path(REAL), os.environ["MADRUN_TEST_IMAGE"], jobs, None)
        yield made
        made.end()
        return
    api = ApiServer(cluster)
    made = Kube(api.kubeconfig(tmp_path), IMAGE, jobs, api)
    try:
        yield made
    finally:
        made.end()
        api.close()
