"""madrun on this machine: the command line as a user meets it, whole processes throughout."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from support.cluster import BIN
from support.here import decided
from support.jobs import EXAMPLES, WORKER
from support.programs import PATIENCE
from support.terminal import Conversation

MADRUN = BIN / "madrun"
CPU_LINE = "madrun: no GPU was found on this machine: "
Words = str | os.PathLike[str]


def clean_environment(**extra: str) -> dict[str, str]:
    """Ours, without what would choose hosts, devices or an environment file."""
    hidden = ("MADRUN_HOSTFILE", "CUDA_VISIBLE_DEVICES", "DS_ENV_FILE")
    return {key: value for key, value in os.environ.items() if key not in hidden} | extra


def madrun(
    *words: Words, cwd: Path | None = None, stdin: str | None = None, **env: str
) -> subprocess.CompletedProcess[str]:
    """Run madrun to its end."""
    return subprocess.run(
        [MADRUN, *words],
        cwd=cwd,
        env=clean_environment(**env),
        input=stdin or "",
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def test_one_worker_where_there_is_no_gpu_and_it_is_said() -> None:
    done = madrun("--no-python", "sh", "-c", "echo $RANK of $WORLD_SIZE at $MASTER_ADDR")
    assert done.returncode == 0
    assert done.stdout == "[localhost:0] 0 of 1 at 127.0.0.1\n"
    assert done.stderr == f"{CPU_LINE}one worker on the CPU\n"


def test_a_script_with_its_arguments(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text("import sys; print(sys.argv)\n")
    done = madrun("--no-prefix", "train.py", "--lr", "1e-3", "--num_gpus", "7", "", cwd=tmp_path)
    assert done.stdout == "['train.py', '--lr', '1e-3', '--num_gpus', '7', '']\n"


def test_ring_with_four_workers() -> None:
    done = madrun("--nproc-per-node", "4", EXAMPLES / "ring.py")
    assert (done.returncode, done.stdout) == (0, "[localhost:0] ring of 4 ranks: sum 6\n")


@pytest.mark.parametrize(
    ("spelling", "expected"),
    [
        (["--num_nodes", "1", "--num_gpus", "2"], 2),
        (["--num_accelerators=3", "--no_local_rank"], 3),
        (["--nproc_per_node", "2", "--master_port", "29533", "--master_addr", "localhost"], 2),
        (["-i", "localhost:0"], 1),
    ],
)
def test_spellings_of_deepspeed_and_torchrun(spelling: list[str], expected: int) -> None:
    done = madrun(*spelling, "--no_python", "sh", "-c", "echo $WORLD_SIZE")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[1::2] == [str(expected)] * expected


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--hostfile", "/typo", "x"], "hostfile /typo: No such file or directory"),
        (["--num_gpus", "0", "x"], "--nproc-per-node 0: must be a whole number of at least 1"),
        (["--nnodes", "2", "x"], "--nnodes 2: only 1 host to choose from (this machine)"),
        (["-i", "elsewhere", "x"], "there is no host 'elsewhere'"),
        (["-i", "a", "-e", "b", "x"], "--include and --exclude cannot be given together"),
        (["--module", "--no-python", "x"], "--module and --no-python exclude each other"),
        (["--master-port", "70000", "x"], "70000 is not in the range"),
        (["--backend", "carrier-pigeon", "x"], "unknown backend 'carrier-pigeon'"),
        (["--hosts", "a,bob@b", "--backend", "pdsh", "x"], "--backend pdsh: one user for all"),
        (["--backend-args", "-x", "x"], "the backend local runs no tool that could take them"),
        (["--launcher", "xyz", "x"], "Unknown launcher type 'xyz'. Use one of: deepspeed, "),
        (["--output", "5-2", "x"], "--output '5-2'"),
        (["--export", "NOT_SET_ANYWHERE", "x"], "NOT_SET_ANYWHERE"),
        (["--env-file", "/none", "x"], "--env-file /none: No such file or directory"),
        (["--bind-core-list", "3-1", "x"], "does not ascend"),
        (["--nonsense", "x"], "No such option '--nonsense'"),
        ([], "Missing argument 'PROGRAM'"),
    ],
)
def test_a_mistake_is_one_line_and_exit_2(words: list[str], said: str) -> None:
    done = decided(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_dry_run_as_json_contacts_nobody(tmp_path: Path) -> None:
    hostfile = tmp_path / "hosts"
    hostfile.write_text("nowhere[1-2] slots=2\nbob@nowhere3 slots=1 port=2222\n")
    done = madrun("-H", hostfile, "--dry-run", "--json", "--export", "A=b c", "train.py", "x y")
    assert done.returncode == 0, done.stderr
    plan = json.loads(done.stdout)
    assert plan["backend"] == "ssh"
    assert plan["launcher"] == "native"
    assert plan["world"] == {"nowhere1": [0, 1], "nowhere2": [0, 1], "bob@nowhere3": [0]}
    assert plan["world_size"] == 5
    assert plan["master"] == {"addr": "nowhere1", "port": None}
    assert [node["node_rank"] for node in plan["nodes"]] == [0, 1, 2]
    assert "madrun.agent" in plan["nodes"][1]["command"]
    last = plan["nodes"][2]["processes"][0]
    assert (last["role"], last["rank"], last["local_rank"]) == ("worker", 4, 0)
    assert last["argv"][-2:] == ["train.py", "x y"]
    assert last["env"]["A"] is None, "a value may be a secret"
    assert last["env"]["RANK"] == "4"
    assert "MASTER_PORT" not in last["env"]
    assert not any("x y" in word or "b c" in word for word in plan["nodes"][2]["command"])


def test_a_dry_run_has_no_secret_unless_it_is_asked_for() -> None:
    words = ["--hosts", "a:1", "--dry-run", "train.py"]
    for more in ([], ["--json"]):
        done = madrun(*more, *words, HF_TOKEN="hf_s3cret", https_proxy="http://s3cret@proxy")
        assert (done.returncode, "s3cret" in done.stdout, "HF_TOKEN" in done.stdout) == (
            0, False, True,
        ), done.stdout  # fmt: skip
    told = json.loads(madrun("--json", "--show-values", *words, HF_TOKEN="hf_s3cret").stdout)
    assert told["nodes"][0]["processes"][0]["env"]["HF_TOKEN"] == "hf_s3cret"


def test_dry_run_with_a_given_port_shows_it() -> None:
    done = madrun("--hosts", "a,b", "--master-port", "29511", "--dry-run", "--json", "x")
    plan = json.loads(done.stdout)
    assert plan["master"]["port"] == 29511
    assert plan["nodes"][0]["processes"][0]["env"]["MASTER_PORT"] == "29511"


@pytest.mark.parametrize(
    ("program", "status"),
    [
        (["sh", "-c", "exit 3"], 3),
        (["sh", "-c", "kill -TERM $$"], 143),
        (["no-such-program"], 127),
        (["/etc/hostname"], 126),
    ],
)
def test_exit_statuses(program: list[str], status: int) -> None:
    assert madrun("--no-python", *program).returncode == status


def test_the_failing_rank_is_named_with_its_last_words(tmp_path: Path) -> None:
    script = tmp_path / "boom.py"
    script.write_text(
        "import os, time\nif os.environ['RANK'] == '1': raise ValueError('loss is nan')\n"
        "time.sleep(60)\n"
    )
    done = madrun("--nproc-per-node", "3", "--log-dir", tmp_path / "logs", script)
    assert done.returncode == 1
    report = done.stderr[done.stderr.index("madrun: rank") :]
    assert report.startswith("madrun: rank 1 on localhost failed first: exited with status 1\n")
    assert "ValueError: loss is nan" in report
    assert f"localhost:{tmp_path}/logs/rank0001.err" in report
    assert report.endswith("madrun: ended because of it: ranks 0,2\n")


def test_a_mask_keeps_its_order_and_its_names() -> None:
    done = madrun(
        *("--no-prefix", "--no-python", "sh", "-c", "echo $LOCAL_RANK $CUDA_VISIBLE_DEVICES"),
        CUDA_VISIBLE_DEVICES="GPU-8932f937,3,1",
    )
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.splitlines()) == [f"{rank} GPU-8932f937,3,1" for rank in range(3)]


def test_device_binding_of_one_worker_each() -> None:
    done = madrun(
        *("--device-binding", "worker", "--no-prefix", "-i", "localhost:0,2"),
        *("--no-python", "sh", "-c", "echo $LOCAL_RANK $CUDA_VISIBLE_DEVICES"),
        CUDA_VISIBLE_DEVICES="7,6,5",
    )
    assert sorted(done.stdout.splitlines()) == ["0 7", "1 5"], done.stderr


def test_cores_are_shared_and_threads_follow() -> None:
    cores = sorted(os.sched_getaffinity(0))
    show = "import os; print(sorted(os.sched_getaffinity(0)), os.environ['OMP_NUM_THREADS'])"
    words = ["--nproc-per-node", "2", "--no-prefix", "--no-python", sys.executable, "-c", show]
    done = madrun("--bind-cores-to-rank", *words, OMP_NUM_THREADS="")
    half = (len(cores) + 1) // 2
    shares = sorted(line.rpartition(" ")[0] for line in done.stdout.splitlines())
    assert shares == sorted([str(cores[:half]), str(cores[half:])]), done.stderr
    done = madrun("--bind-core-list", str(cores[0]), *words)
    assert done.returncode == 125
    assert "2 workers cannot share 1 cores" in done.stderr


def test_threads_are_the_nodes_cores_by_its_workers() -> None:
    environment = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"}
    words = ["--nproc-per-node", "2", "--no-prefix", "--no-python", "sh", "-c"]
    done = subprocess.run(
        [MADRUN, *words, "echo $OMP_NUM_THREADS"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    share = max(1, len(os.sched_getaffinity(0)) // 2)
    assert done.stdout.split() == [str(share)] * 2
    assert madrun(*words, "echo $OMP_NUM_THREADS", OMP_NUM_THREADS="7").stdout.split() == ["7"] * 2


@pytest.mark.parametrize("option", ["--omp-num-threads", "--num_cpu_threads_per_process"])
def test_threads_that_are_asked_for_win_over_the_environments(option: str) -> None:
    words = ["--nproc-per-node", "2", "--no-prefix", "--no-python", "sh", "-c"]
    done = madrun(option, "3", *words, "echo $OMP_NUM_THREADS", OMP_NUM_THREADS="7")
    assert done.stdout.split() == ["3"] * 2, done.stderr


def test_an_env_file_is_the_same_on_one_node_as_on_many(tmp_path: Path) -> None:
    (tmp_path / ".madrun_env").write_text("# settings\nGREETING='a b'\nexport OTHER=\"x=y\"\n")
    done = madrun(
        "--no-prefix", "--no-python", "sh", "-c", "echo $GREETING $OTHER", cwd=tmp_path, HOME="/"
    )
    assert done.stdout == "a b x=y\n"


def test_a_reader_that_goes_away_does_not_end_the_job(tmp_path: Path) -> None:
    done_file = tmp_path / "done"
    command = f"{MADRUN} --no-python sh -c 'seq 300000; touch {done_file}' | head -1"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command],
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "[localhost:0] 1\n")
    assert done_file.exists()


def test_a_console_that_stops_reading_does_not_stop_the_worker(tmp_path: Path) -> None:
    done_file = tmp_path / "done"
    words: list[Words] = [
        "--log-dir",
        tmp_path,
        "--no-python",
        "sh",
        "-c",
        f"seq 1000000; : >{done_file}",
    ]
    job = subprocess.Popen(
        [MADRUN, *words],
        env=clean_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    deadline = time.monotonic() + 40
    while not done_file.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert done_file.exists(), "the worker waits for a console that nobody reads"
    _, stderr = job.communicate(timeout=PATIENCE)
    assert job.returncode == 0
    assert b"lines of rank 0 were not shown: the console was too slow" in stderr
    assert (tmp_path / "rank0000.out").read_bytes().count(b"\n") == 1_000_000


def test_ctrl_c_on_a_terminal_is_one_wish_and_ends_everything() -> None:
    """The terminal sends SIGINT to guard and core alike; that is not a second, impatient one."""
    runner, terminal = pty.openpty()
    words: list[Words] = ["--nproc-per-node", "2", "--grace", "60", WORKER, "hold", "daemons"]
    job = subprocess.Popen(
        ["setsid", "-c", MADRUN, *words],
        env=clean_environment(),
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
    )
    os.close(terminal)
    talk = Conversation(runner, runner)
    for _ in range(2):
        talk.until("up ")
    talk.type("\x03")
    talk.until("stopped by SIGINT")
    assert job.wait(PATIENCE) == 130
    os.close(runner)


def test_sigkill_of_what_the_user_started_ends_the_workers() -> None:
    job = subprocess.Popen(
        [MADRUN, "--nproc-per-node", "2", WORKER, "hold", "daemons"],
        env=clean_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert job.stdout is not None
    ups = 0
    while ups < 2:
        ups += "up " in job.stdout.readline()
    job.send_signal(signal.SIGKILL)
    # The workers and their daemons hold the pipe: its end says that all of them have gone.
    rest = job.stdout.read()
    assert job.wait(PATIENCE) == -signal.SIGKILL
    assert "the guard of the runner was killed" in rest
    job.stdout.close()


@pytest.mark.slow
def test_quickstart_is_what_the_readme_says() -> None:
    done = subprocess.run(
        [EXAMPLES.parent / "scripts" / "quickstart"],
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "ring of 2 ranks: sum 1" in done.stdout


def test_under_nohup_a_closed_terminal_ends_nothing() -> None:
    """An inherited, ignored SIGHUP stays ignored (pytorch #67538)."""
    words: list[Words] = ["nohup", MADRUN, WORKER, "hold"]
    job = subprocess.Popen(
        words,
        env=clean_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert job.stdout is not None
    while "up 0" not in job.stdout.readline():
        pass
    job.send_signal(signal.SIGHUP)
    job.send_signal(signal.SIGUSR1)
    assert "usr1 0" in job.stdout.readline(), "it goes on"
    job.send_signal(signal.SIGTERM)
    assert job.wait(PATIENCE) == 143
    job.stdout.close()
