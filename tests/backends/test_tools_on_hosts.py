"""What the tools do on real hosts, each in its own way; what is the same is in test_table.py."""

from __future__ import annotations

import pytest

from support.cluster import BIN, Cluster


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1"])
def test_open_mpi_takes_this_machine_by_any_name(cluster: Cluster, name: str) -> None:
    words = ("--backend", "openmpi", "--hosts", f"{name}:2", "--no-prefix")
    done = cluster.run("head", [BIN / "madrun", *words, "--no-python", "hostname"])
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(done.stdout.split()) == ["head", "head"]


def test_the_tools_message_is_shown_from_its_first_line_on(cluster: Cluster) -> None:
    words = ("--backend", "openmpi", "--hosts", "node01", "--backend-args", "--no-such-option")
    done = cluster.run("head", [BIN / "madrun", *words, "--no-python", "hostname"])
    assert done.returncode == 125
    assert "mpirun exited with status 1: mpirun: Error: unknown option" in done.stderr
