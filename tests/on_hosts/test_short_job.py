"""A job that is over at once, over ssh: what is asked for is told all the same."""

from __future__ import annotations

from support.cluster import Cluster


def test_a_short_job_shows_its_times(cluster: Cluster) -> None:
    done = cluster.madrun("-v", "--hosts", "node[01-02]:1", "--no-python", "true")
    assert done.returncode == 0, done.stderr
    assert "madrun: all workers run after" in done.stderr
    assert "check in" in done.stderr


def test_so_does_one_that_fails_at_once(cluster: Cluster) -> None:
    done = cluster.madrun("-v", "--hosts", "node[01-02]:1", "--no-python", "false")
    assert done.returncode == 1, done.stderr
    assert "the slowest host was node0" in done.stderr
