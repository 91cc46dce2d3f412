"""Hosts whose slots nobody said: each has what it has, or what was asked for."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from support.cluster import Cluster

SHOW = ("--no-prefix", "--no-python", "sh", "-c", "echo $(hostname) $LOCAL_RANK/$WORLD_SIZE")


@contextmanager
def gpus(cluster: Cluster, masks: dict[str, str]) -> Iterator[None]:
    """Hosts with so many devices: the entries of a mask count as such."""
    cases = " ".join(
        f"{host}) export CUDA_VISIBLE_DEVICES={mask};;" for host, mask in masks.items()
    )
    before = cluster.shrc.read_text()
    cluster.shrc.write_text(f"case $(hostname) in {cases} esac\n{before}")
    try:
        yield
    finally:
        cluster.shrc.write_text(before)


def test_each_host_has_what_is_there(cluster: Cluster) -> None:
    with gpus(cluster, {"node01": "4,7", "node02": "0,1,2"}):
        done = cluster.madrun("--hosts", "node[01-02]", *SHOW)
    assert done.returncode == 0, done.stderr
    shown = [f"node01 {n}/5" for n in range(2)] + [f"node02 {n}/5" for n in range(3)]
    assert sorted(done.stdout.splitlines()) == shown


def test_without_gpus_each_host_has_one_worker_or_one_for_each_core(cluster: Cluster) -> None:
    done = cluster.madrun("--hosts", "node[01-02]", *SHOW)
    assert sorted(done.stdout.splitlines()) == ["node01 0/2", "node02 0/2"], done.stderr
    done = cluster.madrun("--hosts", "node01", "--nproc_per_node=auto", *SHOW)
    cores = len(os.sched_getaffinity(0))
    assert len(done.stdout.splitlines()) == cores, done.stderr


def test_a_plain_list_of_hosts_is_a_hostfile(cluster: Cluster) -> None:
    hostfile = cluster.share / "plain-hosts"
    hostfile.write_text("node01\nnode02\n")
    done = cluster.madrun("--hostfile", hostfile, "--nproc-per-node", "2", *SHOW)
    assert len(done.stdout.splitlines()) == 4, done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--nproc-per-node", "gpu"], "--nproc-per-node gpu: node01 has no GPU"),
        (["--output", "7"], "the ranks of this job are 0-1"),
    ],
)
def test_what_hosts_cannot_do_is_refused_once_they_have_told(
    cluster: Cluster, words: list[str], said: str
) -> None:
    done = cluster.madrun("--hosts", "node01,node02", *words, *SHOW)
    assert done.returncode == 2
    assert said in done.stderr


def test_a_host_that_cannot_be_asked_is_a_failed_launch(cluster: Cluster) -> None:
    folder = cluster.share / "asked"
    done = cluster.madrun("--hosts", "node01,nowhere", "--job-dir", folder, *SHOW)
    assert done.returncode == 125
    assert "nowhere" in done.stderr
    assert (folder / "latest" / "summary.json").is_file()
