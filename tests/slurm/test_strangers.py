"""Another user on node 0's machine takes part in nothing, and holds up nothing."""

from __future__ import annotations

import re
import signal
import sys
from pathlib import Path

from madrun.hosts.slurm import ports_of_step
from support.cluster import Cluster
from support.jobs import EXAMPLES, WORKER, of_the_job
from support.slurm import AGENTS, GPUS, MADAGENT

(LIBMUNGE,) = (str(path) for path in Path("/usr/lib").glob("*/libmunge.so.2"))

# Run by another user on node01, before the job comes: it has the first port for itself and speaks
# as node 0 does, with its own munge credentials.
IMPOSTOR = """
import json, os, socket, subprocess, sys
os.setgroups([]), os.setgid(65534), os.setuid(65534)
listener = socket.create_server(("", int(sys.argv[1])), family=socket.AF_INET)
print("listens", flush=True)

def munge(text):
    return subprocess.run(["munge"], input=text, capture_output=True, check=True).stdout

while True:
    connection, _ = listener.accept()
    with connection, connection.makefile("rb") as file:
        connection.sendall(b"MADRUN-MEET 1 munge " + b"0" * 64 + b"\\n")
        guest = file.readline()
        opened = subprocess.run(["unmunge", "-m", "/dev/null"], input=guest,
                                capture_output=True, check=False)
        said = json.loads(opened.stdout)
        welcome = {"what": "welcome", "key": "ee" * 32, "ports": [6666, 6666]}
        for what in ({"what": "seen"}, welcome):
            fields = {"job": said["job"], "nonce": said["own"], **what}
            connection.sendall(munge(json.dumps(fields).encode()))
        print("was asked", said["rank"], flush=True)
"""

# Run by another user on node01, as node 1 would come.
INTRUDER = """
import json, os, socket, subprocess, sys, time
"x".encode("idna")  # what that loads may be out of another user's reach
os.setgroups([]), os.setgid(65534), os.setuid(65534)
deadline = time.monotonic() + 60
while time.monotonic() < deadline:
    for port in map(int, sys.argv[2:]):
        try:
            connection = socket.create_connection(("127.0.0.1", port), timeout=5)
        except OSError:
            continue
        with connection, connection.makefile("rb") as file:
            nonce = file.readline().split()[-1].decode()
            fields = {"job": sys.argv[1], "nonce": nonce, "own": "ab" * 32, "rank": 1,
                      "version": "1", "key": "cd" * 32, "devices": 0, "workers": 1}
            sealed = subprocess.run(["munge"], input=json.dumps(fields).encode(),
                                    capture_output=True, check=True).stdout
            connection.sendall(sealed)
            print("answer", file.readline(), flush=True)
            sys.exit()
    time.sleep(0.05)
"""
SLURM = ["-N2", "-c2", GPUS]


def next_step(cluster: Cluster) -> tuple[str, list[str]]:
    """What the next job's first step is called, and the ports at which its agents try to meet."""
    config = cluster.run("head", ["scontrol", "show", "config"], check=True).stdout
    found = re.search(r"NEXT_JOB_ID\s*=\s*([0-9]+)", config)
    assert found is not None
    return f"slurm-{found[1]}.0", [str(port) for port in ports_of_step(found[1], "0")]


def test_another_user_who_poses_as_node_0_is_not_believed(cluster: Cluster) -> None:
    _, ports = next_step(cluster)
    impostor = cluster.popen("node01", [sys.executable, "-c", IMPOSTOR, ports[0]])
    assert impostor.stdout is not None
    try:
        assert impostor.stdout.readline() == "listens\n"
        done = cluster.run("head", AGENTS.words(EXAMPLES / "ring.py", slurm=SLURM))
        assert impostor.stdout.readline() == "was asked 1\n"
    finally:
        cluster.signal(impostor, signal.SIGKILL)
        impostor.communicate()
    assert (done.returncode, done.stderr) == (0, "")
    assert "ring of 4 ranks: sum 6" in done.stdout


def test_another_user_who_poses_as_a_node_is_not_let_in(cluster: Cluster) -> None:
    job, ports = next_step(cluster)
    intruder = cluster.popen("node01", [sys.executable, "-c", INTRUDER, job, *ports])
    # Slow to come, so that the intruder is first.
    late = 'test $SLURM_NODEID = 0 || while [ ! -e "$0" ]; do sleep 0.05; done; exec "$@"'
    mark = cluster.share / "intruder-was-there"
    words = ["srun", *SLURM, "sh", "-c", late, str(mark), MADAGENT, str(EXAMPLES / "ring.py")]
    step = cluster.popen("head", words)
    said, why = intruder.communicate(timeout=60)
    mark.touch()
    out, err = step.communicate(timeout=60)
    assert said == "answer b''\n", why
    assert (step.returncode, err) == (0, "")
    assert "ring of 4 ranks: sum 6" in out


def test_without_munge_the_shared_home_has_the_key(cluster: Cluster) -> None:
    home = cluster.share / "home"
    home.mkdir()
    env = {"HOME": str(home), "LD_PRELOAD": ""}
    hide = f'mount --bind /dev/null {LIBMUNGE} && exec "$@"'
    words = ["srun", *SLURM, "unshare", "-m", "sh", "-c", hide, "sh", MADAGENT]
    done = cluster.run("head", [*words, EXAMPLES / "ring.py"], env=env)
    assert done.returncode == 0, done.stderr
    assert "ring of 4 ranks: sum 6" in done.stdout
    assert list((home / ".madrun" / "keys").iterdir()) == []


def test_with_neither_the_error_says_what_to_do(cluster: Cluster) -> None:
    env = {"HOME": "/proc/1"}
    hide = f'mount --bind /dev/null {LIBMUNGE} && exec "$@"'
    words = ["srun", *SLURM, "unshare", "-m", "sh", "-c", hide, "sh", MADAGENT]
    done = cluster.run("head", [*words, "--launch-timeout", "3", EXAMPLES / "ring.py"], env=env)
    assert done.returncode == 125
    assert "--key-file names a file with a key" in done.stderr
    assert "Traceback" not in done.stderr


def test_by_hand_the_nodes_meet_by_a_key_file(cluster: Cluster) -> None:
    """The first failure ends both; all that is shown, node 0 shows."""
    key = cluster.share / "key"
    key.write_bytes(b"k" * 32)
    key.chmod(0o600)
    words = [MADAGENT, "--hosts", "node01:2,node02:2", "--master-addr", "node01",
             "--key-file", str(key), "--grace", "5", str(WORKER), "hold", "exit=3:6"]  # fmt: skip
    both = [cluster.popen(host, words) for host in ("node02", "node01")]
    (out2, err2), (out1, err1) = (each.communicate(timeout=60) for each in both)
    assert [each.returncode for each in both] == [6, 6], err1 + err2
    assert (out2, err2) == ("", "")
    assert sorted(out1.splitlines())[-1] == "[node02:3] up 3"
    assert "madrun: rank 3 on node02 failed first: exited with status 6" in err1
    assert of_the_job(cluster) == []


def test_by_hand_another_key_is_not_believed(cluster: Cluster) -> None:
    words = [MADAGENT, "--hosts", "node01:1,node02:1", "--master-addr", "node01",
             "--launch-timeout", "3", "--key-file"]  # fmt: skip
    both = []
    for host in ("node01", "node02"):
        key = cluster.share / f"key-of-{host}"
        key.write_bytes(host.encode() * 8)
        key.chmod(0o600)
        both.append(cluster.popen(host, [*words, key, EXAMPLES / "ring.py"]))
    (_, err1), (_, err2) = (each.communicate(timeout=60) for each in both)
    assert [each.returncode for each in both] == [125, 125]
    assert "node02  its agent has not come within 3 s" in err1
    assert "the agent of node01 is not reached within 3 s: port 29500: " in err2
