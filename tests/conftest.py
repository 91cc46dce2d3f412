"""What every test has: hosts for those that ask, and an eye on what is left behind."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest

from support import orphans
from support.cluster import Cluster, brought_up

if TYPE_CHECKING:
    from collections.abc import Iterator


# The same examples in each run of CI, so that a red one is about the change; new ones elsewhere.
hypothesis.settings.register_profile("ci", derandomize=True, database=None)
hypothesis.settings.register_profile("quick", max_examples=20)
if os.environ.get("CI"):
    hypothesis.settings.load_profile("ci")


def pytest_sessionstart() -> None:
    """See `orphans`; and jobs of tests leave their records where they are thrown away.

    Under nohup, or behind a shell's `&`, these signals are ignored, and so by all that we start.
    """
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    orphans.adopt_orphans()
    os.environ["MADRUN_JOB_DIR"] = tempfile.mkdtemp(prefix="madrun-jobs-")


def pytest_sessionfinish() -> None:
    """Throw the records away."""
    shutil.rmtree(os.environ["MADRUN_JOB_DIR"], ignore_errors=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that use the hosts: `-m "not hosts"` leaves them out.

    Side by side, those come first, which wait more than they work.
    """
    for item in items:
        if "cluster" in getattr(item, "fixturenames", ()) or item.path.parent.name == "on_hosts":
            item.add_marker(pytest.mark.hosts)
    if "PYTEST_XDIST_WORKER" in os.environ:
        items.sort(key=lambda item: "hosts" not in item.keywords)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """See `side_by_side`."""
    from support.side_by_side import Groups

    return Groups(config, log)


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """Four nodes and a head. Where they cannot be had, that is an error."""
    with brought_up(4) as hosts:
        yield hosts


@pytest.fixture
def breakable(cluster: Cluster) -> Iterator[Cluster]:
    """The hosts, for a test that breaks them: they are mended after it."""
    yield cluster
    cluster.restore()


@pytest.fixture(autouse=True)
def no_orphans(request: pytest.FixtureRequest) -> Iterator[None]:
    """Nothing a test started may outlive it, and a host that was broken has to be mended."""
    hosts = request.getfixturevalue("cluster") if "cluster" in request.fixturenames else None
    oracle = orphans.Oracle.now(hosts)
    yield
    complaints = hosts.broken() if hosts else []
    if hosts and complaints:
        hosts.restore()
    complaints += [f"left behind: {process}" for process in oracle.survivors()]
    oracle.clean()
    if complaints:
        pytest.fail("\n".join(complaints), pytrace=False)
