"""The main job on real hosts: placement, environment, arguments, output, exit status."""

from __future__ import annotations

import json
import os
import sys

import pytest

from support.cluster import Cluster
from support.jobs import EXAMPLES, WORKER
from support.programs import PATIENCE

PRINT_ENV = "import json, os, sys; print('ENV', json.dumps([dict(os.environ), sys.argv[1:]]))"
HOSTILE = [
    "a b", "it's", 'say "hi"', "$HOME", "`id`", "*", "; exit 3", "a\nb", "", "%h %n %u", "\\",
    "ünïcødé", "--flag=x y", "#", "&&", "{a,b}", "~", "\t", "-n", "\udcff\udcfe",
]  # fmt: skip


def environments(stdout: str) -> dict[int, dict[str, str]]:
    """What PRINT_ENV printed, by rank."""
    lines = [line.partition("ENV ")[2] for line in stdout.splitlines() if "ENV " in line]
    found = [json.loads(line)[0] for line in lines]
    return {int(env["RANK"]): env for env in found}


def test_ring_on_four_hosts(cluster: Cluster) -> None:
    done = cluster.madrun("--hostfile", cluster.hostfile(slots=2), EXAMPLES / "ring.py")
    assert done.returncode == 0, done.stderr
    assert "ring of 8 ranks: sum 28" in done.stdout
    assert done.stderr == ""


def test_unequal_slots_count_local_ranks_from_zero(cluster: Cluster) -> None:
    hosts = "node01:3,node02:1,node03:2"
    done = cluster.madrun("--hosts", hosts, "--no-python", sys.executable, "-c", PRINT_ENV)
    assert done.returncode == 0, done.stderr
    found = environments(done.stdout)
    names = ("NODE_RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "WORLD_SIZE", "CROSS_RANK")
    assert [tuple(found[rank][name] for name in names) for rank in range(6)] == [
        ("0", "0", "3", "6", "0"),
        ("0", "1", "3", "6", "0"),
        ("0", "2", "3", "6", "0"),
        ("1", "0", "1", "6", "1"),
        ("2", "0", "2", "6", "2"),
        ("2", "1", "2", "6", "1"),
    ]
    assert len({(env["MASTER_ADDR"], env["MASTER_PORT"]) for env in found.values()}) == 1


@pytest.mark.parametrize(
    ("option", "text", "places"),
    [
        ("--include", "node02@node04:1", ["node02:0", "node02:1", "node04:2"]),
        ("--include", "node[03-04]:0", ["node03:0", "node04:1"]),
        ("--exclude", "node01@node02@node03:0", ["node03:0", "node04:1", "node04:2"]),
        ("--nnodes", "1", ["node01:0", "node01:1"]),
        ("--num_gpus", "1", ["node01:0", "node02:1", "node03:2", "node04:3"]),
    ],
)
def test_filters_and_counts(cluster: Cluster, option: str, text: str, places: list[str]) -> None:
    done = cluster.madrun(
        "--hostfile", cluster.hostfile(slots=2), option, text, "--no-python", "hostname"
    )
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.split()) == sorted(
        word for place in places for word in (f"[{place}]", place.partition(":")[0])
    )


def test_arguments_arrive_byte_for_byte(cluster: Cluster) -> None:
    show = "import os, sys; print(ascii([os.fsencode(each) for each in sys.argv[1:]]))"
    done = cluster.madrun(
        *("--hosts", "node01,head", "--no-prefix"),
        *("--no-python", sys.executable, "-c", show, *HOSTILE),
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [ascii([os.fsencode(each) for each in HOSTILE])] * 2


def test_environment_travels_as_data(cluster: Cluster) -> None:
    exported = {"NCCL_DEBUG": "a b'c\"$d", "MY_SETTING": "line\nbreak", "NOT_ASKED": "x"}
    done = cluster.madrun(
        *("--hosts", "node01,head", "--export", "MY_SETTING", "--export", "SEED=4=2"),
        *("--no-python", sys.executable, "-c", PRINT_ENV),
        env={**exported, "SSH_AUTH_SOCK": "/nowhere", "DISPLAY": ":0"},
    )
    assert done.returncode == 0, done.stderr
    for env in environments(done.stdout).values():
        assert env["NCCL_DEBUG"] == exported["NCCL_DEBUG"]
        assert env["MY_SETTING"] == exported["MY_SETTING"]
        assert env["SEED"] == "4=2"
        assert env["HOME"] == "/root"
        assert not {"NOT_ASKED", "SSH_AUTH_SOCK", "DISPLAY", "PYTHONSAFEPATH"} & set(env)


def test_the_users_modules_never_reach_the_agent(cluster: Cluster) -> None:
    folder = cluster.share / "shadow"
    folder.mkdir(exist_ok=True)
    for name in ("madrun", "dataclasses", "zmq"):
        (folder / f"{name}.py").write_text("raise SystemExit('the wrong one')\n")
    (folder / "mine.py").write_text("value = 42\n")
    (folder / "train.py").write_text("import mine; print('value', mine.value)\n")
    with cluster.login_shell(f"export PYTHONPATH={folder}\n"):
        done = cluster.madrun("--hosts", "node01,node02", "train.py", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("value 42") == 2
    exported = f"PYTHONPATH={folder}"
    done = cluster.madrun("--hosts", "node01,head", "--export", exported, "train.py", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("value 42") == 2


def test_a_single_remote_host_really_runs_there(cluster: Cluster) -> None:
    done = cluster.madrun("--hosts", "node02", "--no-python", "hostname")
    assert (done.returncode, done.stdout) == (0, "[node02:0] node02\n"), done.stderr


def test_the_runners_own_machine_needs_no_ssh(cluster: Cluster) -> None:
    before = (cluster.base / "hosts" / "head" / "log" / "sshd.log").read_text()
    done = cluster.madrun("--hosts", "head:2,node01:1", EXAMPLES / "ring.py")
    assert done.returncode == 0, done.stderr
    assert "ring of 3 ranks: sum 3" in done.stdout
    assert (cluster.base / "hosts" / "head" / "log" / "sshd.log").read_text() == before


def test_modules_and_workdir(cluster: Cluster) -> None:
    folder = cluster.share / "with space"
    (folder / "pkg").mkdir(parents=True, exist_ok=True)
    (folder / "pkg" / "module.py").write_text("import os, sys; print(os.getcwd(), sys.argv[1:])\n")
    done = cluster.madrun(
        *("--hosts", "node01", "--workdir", folder, "--no-prefix", "-m", "pkg.module", "-m", "x")
    )
    assert (done.returncode, done.stdout) == (0, f"{folder} ['-m', 'x']\n"), done.stderr


def test_streams_prefixes_and_partial_last_lines(cluster: Cluster) -> None:
    script = "printf 'out\\npart'; printf 'err' >&2"
    done = cluster.madrun("--hosts", "node01:1,node02:1", "--no-python", "sh", "-c", script)
    assert sorted(done.stdout.splitlines()) == [
        "[node01:0] out", "[node01:0] part", "[node02:1] out", "[node02:1] part",
    ]  # fmt: skip
    assert sorted(done.stderr.splitlines()) == ["[node01:0] err", "[node02:1] err"]


@pytest.mark.parametrize(
    ("shown", "ranks"), [("first", [0]), ("none", []), ("1,3", [1, 3]), ("all", [0, 1, 2, 3])]
)
def test_output_of_chosen_ranks(cluster: Cluster, shown: str, ranks: list[int]) -> None:
    done = cluster.madrun(
        *("--hosts", "node[01-02]:2", "--output", shown, "--no-prefix"),
        *("--no-python", "sh", "-c", "echo $RANK"),
    )
    assert done.returncode == 0
    assert sorted(int(word) for word in done.stdout.split()) == ranks


def test_log_files_are_complete_where_the_console_is_not(cluster: Cluster) -> None:
    logs = cluster.share / "logs"
    done = cluster.madrun(
        *("--hosts", "node[01-02]:2", "--output", "none", "--log-dir", logs),
        *("--no-python", "sh", "-c", "seq 200000; echo bad >&2"),
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    expected = "".join(f"{number}\n" for number in range(1, 200001))
    for rank in range(4):
        assert (logs / f"rank{rank:04d}.out").read_text() == expected
        assert (logs / f"rank{rank:04d}.err").read_text() == "bad\n"


def test_the_first_failure_is_the_jobs_exit_status(cluster: Cluster) -> None:
    done = cluster.madrun(
        "--hostfile", cluster.hostfile(slots=2), WORKER, "hold", "exit=5:7", "daemons"
    )
    assert done.returncode == 7
    report = done.stderr[done.stderr.index("madrun: ") :].splitlines()
    assert report[0] == "madrun: rank 5 on node03 failed first: exited with status 7"
    assert "device" not in report[1], "a job on the CPU has none"
    assert [line.strip() for line in report[2:4]] == ["its last lines:", "rank 5 says goodbye"]
    assert report[-1] == "madrun: ended because of it: ranks 0-4,6-7"


def test_a_death_by_signal_is_128_and_the_signal(cluster: Cluster) -> None:
    done = cluster.madrun("--hosts", "node[01-02]:2", WORKER, "hold", "signal=2:11")
    assert done.returncode == 139
    assert "rank 2 on node02 failed first: died of signal 11 (SIGSEGV)" in done.stderr


def test_a_given_master_port_that_is_taken(cluster: Cluster) -> None:
    done = cluster.madrun(
        *("--hosts", "node[01-02]:1", "--master-port", "22", "--no-python", "true")
    )
    assert done.returncode == 125
    assert "node01  master port 22 cannot be used here: Address already in use" in done.stderr


def test_by_hand_on_each_node(cluster: Cluster) -> None:
    hostfile = cluster.hostfile(slots=2, hosts=["node01", "node02"])
    jobs = [
        cluster.popen(
            host,
            [sys.executable, "-m", "madrun.agent", "--hostfile", hostfile, "--node-rank", str(rank),
             "--master-addr", "node01", "--master-port", "29511", EXAMPLES / "ring.py"],
        )
        for rank, host in enumerate(["node01", "node02"])
    ]  # fmt: skip
    results = [job.communicate(timeout=PATIENCE) for job in jobs]
    assert [job.returncode for job in jobs] == [0, 0], results
    assert "ring of 4 ranks: sum 6" in results[0][0]


def test_by_hand_with_world_info(cluster: Cluster) -> None:
    world = "eyJub2RlMDEiOiBbMF0sICJub2RlMDIiOiBbMSwgM119"  # {"node01": [0], "node02": [1, 3]}
    done = cluster.run(
        "node02",
        [sys.executable, "-m", "madrun.agent", "--world-info", world, "--master-addr", "node01",
         "--no-python", sys.executable, "-c", PRINT_ENV],
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = environments(done.stdout)
    assert sorted(found) == [1, 2]
    assert found[1]["CUDA_VISIBLE_DEVICES"] == "1,3"
    assert found[2]["MASTER_PORT"] == "29500"
