"""Servers over real hosts: the router is the real one, the engines are doubles."""

from __future__ import annotations

import re
import shlex
import sys

import pytest

from support.cluster import BIN, Cluster
from support.engines import EXPORTS, GENERATE
from support.jobs import Running, of_the_job
from support.programs import PATIENCE

CLIENT = shlex.join([sys.executable, GENERATE])
PD = ["--hosts", "node[01-03]:1", "--launcher", "sglang-disagg"]
MODEL = "/no/such/model"  # a name would be looked up in the internet by the router


def told_to_end(output: str) -> dict[str, float]:
    """When each engine was told to end, by its role."""
    found = re.findall(r":([a-z-]+)\] told to end at ([0-9.]+)", output)
    return {role: float(at) for role, at in found}


def test_sglang_over_two_hosts_and_its_ranks_that_are_deaf_to_term(cluster: Cluster) -> None:
    hosts = ("--hosts", "node[01-02]:1", "--grace", "3600")
    done = cluster.madrun(*EXPORTS, *hosts, "--launcher", "sglang", "--client", CLIENT, MODEL)
    assert done.returncode == 0, done.stderr
    assert "READY http://198.18.1.1:30000\n" in done.stdout
    assert '[node01:client] {"text": "hello world"' in done.stdout
    assert "[node02:sglang] follows rank 0" in done.stdout
    assert "[node02:sglang] rank 0 is gone" in done.stdout, "they need no KILL"


def test_prefill_decode_and_the_real_router(cluster: Cluster) -> None:
    done = cluster.madrun(*EXPORTS, *PD, "--client", CLIENT, MODEL)
    assert done.returncode == 0, done.stderr
    assert "READY http://198.18.1.1:30000\n" in done.stdout
    assert '[node01:client] {"text": "hello world"' in done.stdout
    for engine in ("node02:prefill", "node03:decode"):
        assert done.stdout.count(f"[{engine}] asked for /generate") == 2, "before READY, and after"
    first, last = (done.stdout.index(words) for words in ("terminate signal", "told to end"))
    assert first < last, "the router goes before the servers"
    assert {*told_to_end(done.stdout)} == {"prefill", "decode"}


def test_an_engine_that_dies_ends_all_of_it(cluster: Cluster) -> None:
    job = Running(cluster, [*EXPORTS, *PD, MODEL, "--stand-in", "quit=9"])
    job.until("READY http")
    asked = cluster.run("head", [sys.executable, GENERATE, "/quit"],
                        env={"MADRUN_SERVER_URL": "http://node03:30000"})  # fmt: skip
    assert asked.returncode == 0, asked.stderr
    assert job.wait() == 9
    assert "madrun: decode on node03 failed first: exited with status 9" in job.stderr
    assert "ended because of it: router on node01, prefill on node02" in job.stderr


def test_one_that_never_gets_ready_is_named_by_its_own_node(cluster: Cluster) -> None:
    done = cluster.madrun(*EXPORTS, *PD, "--ready-timeout", "4", MODEL, "--stand-in", "sick")
    assert done.returncode == 125
    line = next(line for line in done.stderr.splitlines() if "failed first" in line)
    assert re.match(r"madrun: (prefill on node02|decode on node03) failed first: not ready ", line)
    assert "answered 503 Service Unavailable" in line


def test_a_host_that_dies_while_it_serves(breakable: Cluster) -> None:
    hosts = ["--heartbeat-timeout", "1.5", "--grace", "3", "--hosts", "node[01-02]:1"]
    options = ["--launcher-opt", "mode=mp"]
    job = Running(breakable, [*EXPORTS, *hosts, "--launcher", "vllm", *options, MODEL])
    job.until("READY http://198.18.1.1:8000")
    breakable.kill("node02")
    assert job.wait() == 125
    assert "madrun: host node02 was lost" in job.stderr
    assert not [each for each in of_the_job(breakable) if each.host != "node02"]


@pytest.mark.timeout(180)
def test_ray_on_two_hosts_beside_another_ray(cluster: Cluster) -> None:
    """Real Ray: a head and a worker that joins; one is killed, and only ours goes."""
    theirs = cluster.popen(
        "node01",
        [BIN / "ray", "start", "--head", "--block", "--port=6379", "--temp-dir=/tmp/theirs",
         "--include-dashboard=false", "--num-cpus=0"],
        env={"RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0", "RAY_TMPDIR": "/tmp/theirs"},
    )  # fmt: skip
    assert theirs.stdout is not None
    for line in theirs.stdout:
        if "Ray runtime started" in line:
            break
    others = {each for each in cluster.processes("node01") if is_of_ray(each.cmdline)}
    assert others
    job = Running(cluster, [*EXPORTS, "--hosts", "node[01-02]:1", "--launcher", "vllm", MODEL])
    job.until("READY http://198.18.1.1:8000", patience=90)
    assert "ray: 2 of 2 nodes, 2 of 2 GPUs" in job.stdout
    assert "[node01:vllm] engines on node01 node02" in job.stdout
    (raylet,) = [each for each in cluster.processes("node02") if "/raylet " in each.cmdline]
    raylet.kill()
    status = job.wait()
    assert status not in (0, 125)
    assert "failed first" in job.stderr
    left = {each for each in cluster.processes() if is_of_ray(each.cmdline) and each.state != "Z"}
    assert left == others, "ours has gone, theirs is untouched"
    folders = [cluster.run(host, ["ls", "/tmp"]).stdout.split() for host in ("node01", "node02")]
    assert not [name for names in folders for name in names if name.startswith("madrun-job-")]
    assert not [names for names in folders if "ray" in names], "the folder of all sessions"
    cluster.signal(theirs, 15)
    theirs.communicate(timeout=PATIENCE)


def is_of_ray(cmdline: str) -> bool:
    return bool(re.search(r"ray::|/ray/|gcs_server|raylet", cmdline))
