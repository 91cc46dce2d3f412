"""The ground that the other tests stand on: hosts are what they seem, and orphans are found."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support import orphans
from support.cluster import REPOSITORY, Cluster
from testbed import cgroups, state

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TESTBED = [sys.executable, str(REPOSITORY / "scripts" / "testbed")]
DETACHED = "setsid sleep 4711 </dev/null >/dev/null 2>&1 & echo started"
SLEEP = ("sleep", "4711")
REACH = "exec 3<>/dev/tcp/{}/22 && head -c 3 <&3"
CLIENT = """
import paramiko
client = paramiko.SSHClient()
client.load_system_host_keys()
client.connect("node03", username="root")
print(client.exec_command("hostname")[1].read().decode(), end="")
client.close()
"""


def reach(cluster: Cluster, source: str, target: str) -> bool:
    """Whether sshd of one host says anything to another within a second."""
    argv = ["timeout", "1", "bash", "-c", REACH.format(target)]
    return cluster.run(source, argv).stdout == "SSH"


def traces(base: Path) -> list[str]:
    """What there is of the cluster under that folder, anywhere on this machine."""
    links = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=True)
    places = [links.stdout, Path("/etc/hosts").read_text(), Path("/proc/self/mounts").read_text()]
    lines = [line for text in places for line in text.splitlines()]
    lines += map(str, [*cgroups.ROOT.iterdir(), *base.glob("*")])
    names = (state.Cluster(str(base)).ident, str(base))
    return [line for line in lines if any(name in line for name in names)]


@pytest.fixture
def base(tmp_path: Path) -> Iterator[Path]:
    """A folder for a cluster of the test's own, which is taken down if the test fails to."""
    folder = tmp_path / "base"
    yield folder
    if state.state_file(str(folder)).exists():
        subprocess.run([*TESTBED, "--base", str(folder), "down"], check=True)


def bring_up(base: Path, *options: str) -> None:
    """Bring up a small cluster; another test run may have the machine's own address just now."""
    end = time.monotonic() + 60
    while True:
        done = subprocess.run(
            [*TESTBED, "--base", str(base), "up", "1", *options],
            capture_output=True,
            text=True,
            check=False,
        )
        if "--no-root" not in done.stderr or time.monotonic() > end:
            assert done.stderr == ""
            return
        time.sleep(0.1)


def eventually(holds: Callable[[], bool]) -> bool:
    """Whether something comes true within ten seconds."""
    end = time.monotonic() + 10
    while not holds() and time.monotonic() < end:
        time.sleep(0.01)
    return holds()


def test_run_is_like_a_login(cluster: Cluster) -> None:
    script = (
        'hostname; id -un; pwd; echo "$HOME $USER"; tr "\\0" "\\n" </proc/$$/stat | cut -d" " -f1,6'
    )
    lines = cluster.run("node02", ["sh", "-c", script]).stdout.splitlines()
    assert lines[:4] == ["node02", "root", "/root", "/root root"]
    pid, session = lines[4].split()
    assert pid == session


def test_run_passes_everything_through(cluster: Cluster) -> None:
    done = cluster.run(
        "node01",
        ["sh", "-c", 'cat; echo "$A" >&2; pwd; exit 7'],
        input="in\r\n",
        env={"A": "x y"},
        cwd=cluster.share,
    )
    assert (done.returncode, done.stderr) == (7, "x y\n")
    assert done.stdout.splitlines() == ["in", str(cluster.share)]
    assert cluster.run_bytes("node01", ["cat"], input=b"\xff\r\n\0").stdout == b"\xff\r\n\0"
    assert cluster.run("node01", ["sh", "-c", "kill -9 $$"]).returncode == -signal.SIGKILL


def test_run_ends_what_takes_too_long(cluster: Cluster) -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        cluster.run("node01", ["sleep", "60"], timeout=0.2)


def test_hosts_have_ssh_without_any_options(cluster: Cluster) -> None:
    done = cluster.run("head", ["ssh", "-o", "BatchMode=yes", "node04", "hostname"])
    assert done.stdout == "node04\n"
    assert cluster.run("head", [sys.executable, "-c", CLIENT]).stdout == "node03\n"


def test_private_and_shared_folders(cluster: Cluster) -> None:
    cluster.run("node01", ["touch", "/tmp/mine", str(cluster.share / "ours")], check=True)
    assert cluster.run("node02", ["test", "-e", "/tmp/mine"]).returncode == 1
    assert cluster.run("node02", ["cat", str(cluster.share / "ours")]).returncode == 0
    assert cluster.run("node02", ["test", "-e", __file__]).returncode == 0


def test_processes_sees_a_detached_process(cluster: Cluster) -> None:
    cluster.run("node01", ["sh", "-c", DETACHED], check=True, env={"MARK": "1"})
    assert eventually(lambda: any(each.argv == SLEEP for each in cluster.processes("node01")))
    (found,) = [each for each in cluster.processes("node01") if each.argv == SLEEP]
    assert (found.host, found.ppid, found.sid) == ("node01", 1, found.pid)
    assert found.environ
    assert found.environ["MARK"] == "1"
    os.kill(found.outer_pid, signal.SIGKILL)


def test_signals_reach_the_program(cluster: Cluster) -> None:
    script = "trap 'echo got it; exit 3' USR1; echo $$; while :; do sleep 0.01; done"
    process = cluster.popen("node01", ["sh", "-c", script])
    assert process.stdout
    assert int(process.stdout.readline()) == cluster.inner_pid(process)
    cluster.signal(process, signal.SIGUSR1)
    assert process.communicate() == ("got it\n", "")
    assert process.returncode == 3


def test_partition_of_a_host(breakable: Cluster) -> None:
    breakable.partition("node02")
    assert not reach(breakable, "head", "node02")
    breakable.heal("node02")
    assert reach(breakable, "head", "node02")


def test_partition_of_a_pair(breakable: Cluster) -> None:
    breakable.partition("node02", "node03")
    assert breakable.broken() == [
        "node02 cannot send to node03",
        "node03 cannot send to node02",
    ]
    assert not reach(breakable, "node02", "node03")
    assert reach(breakable, "head", "node03")


def test_kill_and_start(breakable: Cluster) -> None:
    breakable.run("node01", ["touch", "/tmp/mine"], check=True)
    running = breakable.popen("node01", ["sleep", "60"])
    breakable.kill("node01")
    assert breakable.processes("node01") == []
    assert running.communicate() == ("", "")
    breakable.start("node01")
    assert breakable.run("node01", ["test", "-e", "/tmp/mine"]).returncode == 1
    assert reach(breakable, "head", "node01")


def test_freeze_and_thaw(breakable: Cluster) -> None:
    breakable.freeze("node03")
    assert not reach(breakable, "head", "node03")
    breakable.thaw("node03")
    assert reach(breakable, "head", "node03")


def test_delay(breakable: Cluster) -> None:
    breakable.delay("node04", "200ms", jitter="10ms")
    begin = time.monotonic()
    assert reach(breakable, "head", "node04")
    assert time.monotonic() - begin > 0.35  # connect, and the first bytes
    breakable.delay("node04", "0")
    assert breakable.broken() == []


def test_loss(breakable: Cluster) -> None:
    breakable.delay("node04", "0", loss=100)
    assert not reach(breakable, "head", "node04")


def test_restore_mends_everything_at_once(cluster: Cluster) -> None:
    cluster.delay("node01", "5ms")
    cluster.partition("node01")
    cluster.partition("node02", "node03", oneway=True)
    cluster.freeze("node03")
    cluster.kill("node04", crash=True)
    assert len(cluster.broken()) == 5
    cluster.restore()
    assert cluster.broken() == []
    assert all(reach(cluster, "head", node) for node in cluster.hosts)


@pytest.mark.parametrize("options", [["--no-root"], []])
def test_a_second_cluster_leaves_nothing(options: list[str], base: Path) -> None:
    testbed = [*TESTBED, "--base", str(base)]
    bring_up(base, *options)
    status = subprocess.run([*testbed, "status", "--json"], check=True, stdout=subprocess.PIPE)
    assert [row["state"] for row in json.loads(status.stdout)] == ["up"] * 2
    assert traces(base)
    subprocess.run([*testbed, "exec", "node01", "true"], check=True)
    subprocess.run([*testbed, "down"], check=True)
    assert traces(base) == []
    assert not base.exists()


def test_up_refuses_where_a_cluster_is_up(base: Path) -> None:
    testbed = [*TESTBED, "--base", str(base)]
    bring_up(base, "--no-root")
    again = subprocess.run([*testbed, "up", "1", "--no-root"], stderr=subprocess.PIPE, check=False)
    assert (again.returncode, b"is up under" in again.stderr) == (1, True)
    subprocess.run([*testbed, "exec", "node01", "true"], check=True)
    subprocess.run([*testbed, "down"], check=True)


def test_up_clears_what_a_crash_left(base: Path) -> None:
    testbed = [*TESTBED, "--base", str(base)]
    bring_up(base, "--no-root")
    shutil.rmtree(base)  # the switch and the hosts are still there
    bring_up(base, "--no-root")
    subprocess.run([*testbed, "kill", "head", "node01"], check=True)
    bring_up(base, "--no-root")
    subprocess.run([*testbed, "down"], check=True)
    assert traces(base) == []


def test_up_takes_no_folder_of_somebody_else(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    up = [*TESTBED, "--base", str(tmp_path), "up", "1", "--no-root"]
    done = subprocess.run(up, capture_output=True, text=True, check=False)
    assert (done.returncode, "is not empty" in done.stderr) == (1, True)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_hosts_go_when_the_tests_are_killed() -> None:
    script = (
        "import os\n"
        "from support import cluster\n"
        "hosts = cluster.brought_up(1).__enter__()\n"
        "print(hosts.base, flush=True)\n"
        "os.kill(os.getpid(), 9)"
    )
    path = {**os.environ, "PYTHONPATH": str(REPOSITORY / "tests")}
    done = subprocess.run(
        [sys.executable, "-c", script], env=path, stdout=subprocess.PIPE, text=True, check=False
    )
    base = Path(done.stdout.strip())
    assert base.name.startswith("madrun-testbed-")
    assert eventually(lambda: traces(base) == [] and not base.exists())


def test_the_oracle_finds_an_orphan_in_a_host(cluster: Cluster) -> None:
    oracle = orphans.Oracle.now(cluster)
    cluster.run("node02", ["sh", "-c", DETACHED], check=True)
    (found,) = oracle.survivors(patience=0.1)
    assert (found.host, "sleep 4711" in found.cmdline) == ("node02", True)
    oracle.clean()
    assert oracle.survivors() == []


def test_the_oracle_finds_an_orphan_here() -> None:
    oracle = orphans.Oracle.now()
    subprocess.run(["sh", "-c", DETACHED], check=True, stdout=subprocess.DEVNULL)
    (found,) = oracle.survivors(patience=0.1)
    assert (found.host, "sleep 4711" in found.cmdline) == ("here", True)
    oracle.clean()
    assert oracle.survivors() == []


def test_the_oracle_waits_for_who_is_about_to_end(cluster: Cluster) -> None:
    oracle = orphans.Oracle.now(cluster)
    cluster.run("node02", ["sh", "-c", DETACHED.replace("4711", "0.3")], check=True)
    assert oracle.survivors() == []


def test_the_oracle_lets_sshd_be(breakable: Cluster) -> None:
    oracle = orphans.Oracle.now(breakable)
    session = breakable.popen(
        "head", ["ssh", "node01", "echo ready; exec cat"], stdin=subprocess.PIPE
    )
    assert session.stdout
    assert session.stdout.readline() == "ready\n"
    breakable.partition("node01")
    breakable.signal(session, signal.SIGKILL)
    session.communicate()
    assert [each.argv for each in oracle.survivors(patience=0)] == [("cat",)]
    oracle.clean()
    assert oracle.survivors() == []
