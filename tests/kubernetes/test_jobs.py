"""Jobs in pods, from the command to the last object: what users see of them."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from functools import partial
from pathlib import Path

import pytest

from standins.kubernetes_api.jobs import mark_deleted
from support.kube import Kube, until
from support.programs import PATIENCE

SHOW = "import os; print(os.environ['RANK'], os.environ['WORLD_SIZE'], os.environ['MASTER_ADDR'])"
FAILS = """
import os, sys, time
if os.environ['RANK'] == '1':
    print("bad things", file=sys.stderr)
    sys.exit(3)
time.sleep(1000)
"""
HOLD = "import time; print('up', flush=True); time.sleep(1000)"
DEAF = """
import signal, time
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda *_: print('deaf', flush=True))
print('up', flush=True)
while True: time.sleep(1)
"""
USR1 = """
import signal, sys
signal.signal(signal.SIGUSR1, lambda *_: sys.exit(0))
print('up', flush=True)
while True: signal.pause()
"""
HOSTILE = ["a b", "it's", "$(touch /tmp/no)", "$$(RANK) $(RANK) $$", "", "a\nb", "ünï", "\\"]
TWO = ("--nnodes", "2", "--nproc-per-node", "1", "--no-python", "python3", "-c")


def plain(text: str) -> list[str]:
    """Lines without what is another one in each job."""
    return sorted(re.sub(r"-[0-9a-f]{6}\b", "", line) for line in text.splitlines())


def has_come(kube: Kube, count: int) -> bool:
    """Whether so many objects of a job are there."""
    return len(kube.there()) >= count


def test_two_pods_of_two_workers(kube: Kube) -> None:
    done = kube.run("--nnodes", "2", "--nproc-per-node", "2", "--no-python", "python3", "-c", SHOW)
    assert done.returncode == 0, done.stderr
    assert plain(done.stdout) == [
        "[python3-0:0] 0 4 python3-0.python3", "[python3-0:1] 1 4 python3-0.python3",
        "[python3-1:2] 2 4 python3-0.python3", "[python3-1:3] 3 4 python3-0.python3",
    ]  # fmt: skip
    assert kube.left() == []


def test_one_pod(kube: Kube) -> None:
    done = kube.run("-q", "--nproc-per-node", "1", "--no-python", "python3", "-c", SHOW)
    assert (done.returncode, done.stderr) == (0, "")
    assert plain(done.stdout) == ["[python3-0:0] 0 1 127.0.0.1"]


def test_a_pod_that_fails_ends_the_job_with_its_status(kube: Kube) -> None:
    done = kube.run(*TWO, FAILS)
    assert done.returncode == 3, done.stderr
    assert re.search(r"rank 1 on python3-\w{6}-1 failed first: exited with status 3", done.stderr)
    assert re.search(r"Kubernetes: pod python3-\w{6}-1 ran on node \S+\n", done.stderr)
    assert "bad things" in done.stderr
    assert kube.left() == []
    (summary,) = Path(kube.jobs).glob("2*/summary.json")
    told = json.loads(summary.read_text())
    assert (told["exit_status"], told["kind"]) == (3, "worker")
    assert told["first_failure"]["rank"] == 1


def test_arguments_input_and_environment_arrive_as_they_are(kube: Kube) -> None:
    script = (
        "import os, sys; print([os.fsencode(a).hex() for a in sys.argv[1:]],"
        " os.environ['MINE'], sys.stdin.read() if os.environ['RANK'] == '0' else '')"
    )
    words = ["--export", "MINE=x $(y) $$z", *TWO, script, *HOSTILE]
    done = kube.run("--no-prefix", *words, input="for rank 0\n" * 9000)
    assert done.returncode == 0, done.stderr
    first = f"{[each.encode().hex() for each in HOSTILE]} x $(y) $$z "
    assert sorted(done.stdout.splitlines()) == sorted(
        [first, first + "for rank 0", *["for rank 0"] * 8999, ""]
    )


def test_what_is_shipped_lies_where_it_lay(
    kube: Kube, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "help.py").write_text("WORD = 'helped'\n")
    (tmp_path / "src" / "train.py").write_text(
        "import help, pathlib; pathlib.Path('left').write_text('x'); print(help.WORD)\n"
    )
    done = kube.run("--nnodes", "2", "--nproc-per-node", "1", "--ship", "src", "src/train.py")
    assert done.returncode == 0, done.stderr
    assert plain(done.stdout) == ["[train-0:0] helped", "[train-1:1] helped"]


def test_two_jobs_of_one_script_side_by_side(kube: Kube) -> None:
    both = [kube.start("--nproc-per-node", "1", "--no-python", "python3", "-c", SHOW) for _ in "ab"]
    ends = [(*each.communicate(timeout=PATIENCE), each.returncode) for each in both]
    assert [end[2] for end in ends] == [0, 0]
    assert len({end[0] for end in ends}) == 2
    assert kube.left() == []


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_signal_ends_the_job_and_removes_it(kube: Kube, number: int, status: int) -> None:
    job = kube.start(*TWO, HOLD)
    until(job, "up", until(job, "up"))
    job.send_signal(number)
    _, err = job.communicate(timeout=PATIENCE)
    assert job.returncode == status
    assert f"stopped by {signal.Signals(number).name}" in err
    assert kube.left() == []


def test_a_second_signal_kills(kube: Kube) -> None:
    job = kube.start("--grace", "1000", *TWO, DEAF)
    lines = until(job, "up", until(job, "up"))
    job.send_signal(signal.SIGINT)
    until(job, "deaf", lines)
    job.send_signal(signal.SIGTERM)
    job.communicate(timeout=PATIENCE)
    assert job.returncode == 130
    assert kube.left() == []


def test_usr1_goes_to_the_workers(kube: Kube) -> None:
    job = kube.start(*TWO, USR1)
    until(job, "up", until(job, "up"))
    job.send_signal(signal.SIGUSR1)
    _, err = job.communicate(timeout=PATIENCE)
    assert (job.returncode, "failed" in err) == (0, False)


def test_a_killed_command_ends_the_job_by_its_lease(kube: Kube) -> None:
    job = kube.start("--k8s", "lease_seconds=3", *TWO, HOLD)
    until(job, "up", until(job, "up"))
    kube.kill(job)
    kube.wait_for(lambda: [each.pid() for each in kube.api.nodes.pods.values()] == [0, 0])
    (name,) = (each.removeprefix("jobs ") for each in kube.there() if each.startswith("jobs "))
    kube.wait_for(lambda: "Failed" in kube.conditions(name))


def test_a_detached_job_needs_nobody(kube: Kube) -> None:
    done = kube.run("--detach", *TWO, "import sys, time; time.sleep(1); print('worked')")
    assert done.returncode == 0, done.stderr
    name = done.stdout.strip()
    kube.wait_for(lambda: "Complete" in kube.conditions(name))
    assert plain(kube.log(name)) == ["[python3-0:0] worked", "[python3-1:1] worked"]


def test_json_is_what_it_is_over_ssh(kube: Kube) -> None:
    done = kube.run("--json", *TWO, SHOW)
    assert done.returncode == 0
    events = [json.loads(line)["event"] for line in done.stdout.splitlines()]
    assert (events[0], events[-1]) == ("begin", "end")
    assert events.count("exited") == 2


@pytest.mark.torch
@pytest.mark.parametrize("pods", [2, 4])
def test_ddp_trains_over_pods(kube: Kube, pods: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).resolve().parents[2])
    words = ["--nnodes", str(pods), "--nproc-per-node", "1", "--ship", "examples"]
    done = kube.run("--launch-timeout", "100", *words, "examples/train_ddp.py", patience=280)
    assert done.returncode == 0, done.stderr
    assert f"on {pods} ranks" in done.stdout
    assert kube.left() == []


def test_a_dry_run_with_values_is_a_job_that_kubectl_could_apply(kube: Kube) -> None:
    words = ["--dry-run", "--json", "--show-values", *TWO, "print('applied')"]
    done = kube.run(*words)
    assert done.returncode == 0, done.stderr
    assert kube.left() == [], "a dry run makes nothing"
    items = json.loads(done.stdout)["items"]
    api = kube.client
    plural = {"Job": "jobs", "Service": "services", "Secret": "secrets"}
    for item in items:
        api.request("POST", api.path(item["apiVersion"], plural[item["kind"]]), item)
    name = items[0]["metadata"]["name"]
    kube.wait_for(lambda: "Complete" in kube.conditions(name))
    assert plain(kube.log(name)) == ["[python3-0:0] applied", "[python3-1:1] applied"]


@pytest.mark.slow
def test_nothing_is_left_of_many_jobs_half_of_them_interrupted(kube: Kube) -> None:
    """MADRUN_TEST_JOBS says how many."""
    for number in range(int(os.environ.get("MADRUN_TEST_JOBS", "8"))):
        job = kube.start("-q", *TWO, "print('up', flush=True)" if number % 2 else HOLD)
        if not number % 2:
            # Somewhere on its way: before anything is made, while pods start, while it runs.
            if number % 8:
                kube.wait_for(partial(has_come, kube, min(number % 8, 5)))
            job.send_signal((signal.SIGINT, signal.SIGTERM, signal.SIGKILL)[number // 2 % 2])
        _, err = job.communicate(timeout=PATIENCE)
        assert "Traceback" not in err, err
        assert (job.returncode == 0) == bool(number % 2), err
        assert kube.left() == [], f"after job {number}: {err}"


def test_a_finished_job_is_kept_for_as_long_as_is_said(kube: Kube) -> None:
    done = kube.run("--k8s", "ttl_seconds_after_finished=30", *TWO, "print('kept')")
    assert done.returncode == 0, done.stderr
    (name,) = (each.removeprefix("jobs ") for each in kube.there() if each.startswith("jobs "))
    kube.wait_for(lambda: "Complete" in kube.conditions(name))
    assert "kept" in kube.log(name)


# ---- by the log, where nobody may be attached

BY_LOG = ("--k8s", "channel=log")


def test_by_the_log_output_and_status_are_the_same(kube: Kube) -> None:
    done = kube.run(*BY_LOG, *TWO, FAILS)
    assert done.returncode == 3, done.stderr
    assert re.search(r"rank 1 on python3-\w{6}-1 failed first: exited with status 3", done.stdout)
    assert "bad things" in done.stdout
    assert kube.left() == []
    well = kube.run(*BY_LOG, *TWO, SHOW)
    assert (well.returncode, len(well.stdout.splitlines())) == (0, 2), well.stderr


def test_the_log_is_followed_over_an_api_server_that_is_away(kube: Kube) -> None:
    steps = "import time\nfor n in range(12): print('step', n, flush=True); time.sleep(0.5)"
    job = kube.start(*BY_LOG, *TWO, steps)
    lines = until(job, "step 2")
    kube.api.stop()
    time.sleep(2)  # the fault: it is away for so long
    kube.api.start()
    out, err = job.communicate(timeout=PATIENCE)
    assert job.returncode == 0, err
    text = "".join(lines) + out
    assert [text.count(f"step {number}\n") for number in range(12)] == [2] * 12


def test_by_the_log_ctrl_c_removes_the_job(kube: Kube) -> None:
    job = kube.start(*BY_LOG, *TWO, HOLD)
    until(job, "up", until(job, "up"))
    job.send_signal(signal.SIGINT)
    job.communicate(timeout=PATIENCE)
    assert job.returncode == 130
    assert kube.left() == []


def test_the_record_and_the_pid_file_are_those_of_every_job(kube: Kube, tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    job = kube.start("--pid-file", pid_file, *TWO, HOLD)
    until(job, "up", until(job, "up"))
    assert int(pid_file.read_text().split()[0]) == job.pid
    job.send_signal(signal.SIGTERM)
    job.communicate(timeout=PATIENCE)
    assert not pid_file.exists()
    (folder,) = Path(kube.jobs).glob("2*")
    events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    names = [each["event"] for each in events]
    assert (names[0], names[-1], names.count("begin"), names.count("end")) == ("begin", "end", 1, 1)
    assert json.loads((folder / "summary.json").read_text())["exit_status"] == 143
    assert json.loads((folder / "job.json").read_text())["backend"] == "kubernetes"


@pytest.mark.parametrize("index", [0, 1])
def test_a_killed_agent_ends_the_job(kube: Kube, index: int) -> None:
    """The first process of the container is its guard; with it, all of the pod goes."""
    job = kube.start("--grace", "1", *TWO, HOLD)
    until(job, "up", until(job, "up"))
    kube.kill_agent(index)
    _, err = job.communicate(timeout=PATIENCE)
    assert job.returncode == 125, err
    assert kube.left() == []


def test_a_worker_that_dies_of_a_signal(kube: Kube) -> None:
    done = kube.run(*TWO, "import os; os.kill(os.getpid(), 11)")
    assert done.returncode == 139, done.stderr
    assert "died of signal 11 (SIGSEGV)" in done.stderr


@pytest.mark.torch
@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["torchrun", "deepspeed", "megatron", "torchtitan"])
def test_a_launcher_trains_over_two_pods(
    kube: Kube, launcher: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(Path(__file__).resolve().parents[2])
    script = "examples/train_ddp.py"
    words = ["--nnodes", "2", "--nproc-per-node", "1", "--ship", script, "--launcher", launcher]
    command = ["--no-python", "bash", "-c", '$MAD_MULTI_NODE_RUNNER "$0"', script]
    done = kube.run("--launch-timeout", "200", *words, *command, patience=280)
    assert done.returncode == 0, done.stderr
    assert "on 2 ranks" in done.stdout


def test_a_pod_that_somebody_deletes_ends_the_job(kube: Kube) -> None:
    """kubectl delete pod: no disruption, so Kubernetes lets the Job fail too."""
    job = kube.start(*TWO, HOLD)
    until(job, "up", until(job, "up"))
    name = kube.pod(1).name
    kube.api.store.change(("pods", "default", name), mark_deleted)
    _, err = job.communicate(timeout=PATIENCE)
    assert job.returncode == 143, err
    assert re.search(r"stopped by SIGTERM, sent to the agent on python3-\w{6}-1", err), err
    assert kube.left() == []
