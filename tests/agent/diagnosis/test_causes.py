"""Workers that really fail: by the kernel's hand, on a full disk, by exceptions, under torch."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from madrun.agent.diagnosis.memory_kills import memory_groups
from madrun.hosts import world_info
from madrun.hosts.world import Node, World
from support.cluster import BIN
from support.programs import PATIENCE

HERE = ["--world-info", world_info.encode(World((Node("here", (0, 1)),)))]
AGENT = [sys.executable, "-m", "madrun.agent", *HERE]
EATER = "x = b'x' * (1 << 29)\n"
LIMIT = 128 << 20

Cause = Callable[..., tuple[int, str]]


@pytest.fixture
def cause(tmp_path: Path) -> Cause:
    """Run a script as rank 1 of two; exit status and the cause in the report."""
    tmp = tmp_path / "tmp"
    tmp.mkdir()

    def run(script: str, *before: str, cwd: Path = tmp_path, **env: str) -> tuple[int, str]:
        path = tmp_path / "train.py"
        path.write_text("import os, signal\nos.environ['RANK'] == '1' or signal.pause()\n" + script)
        hidden = ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES")
        clean = {key: value for key, value in os.environ.items() if key not in hidden}
        done = subprocess.run(
            [*before, *AGENT, path], cwd=cwd, env={**clean, "TMPDIR": str(tmp), **env},
            capture_output=True, text=True, timeout=PATIENCE, check=False,
        )  # fmt: skip
        assert "rank 1 on here failed first" in done.stderr, done.stderr
        assert os.listdir(tmp) == [], "error files are left behind"
        found = re.search(r"^    cause: (.*)$", done.stderr, re.MULTILINE)
        return done.returncode, found[1].replace(f"{path}:", "train.py:") if found else ""

    return run


# ---- memory


@pytest.fixture
def limited() -> Iterator[list[str]]:
    """A command that puts what follows into a memory cgroup with a limit."""
    groups = memory_groups("/")
    group = Path(groups[0] if groups else "/none", f"madrun-test-{os.getpid()}")
    group.mkdir()  # needs root, as the hosts do
    try:
        for name in ("memory.limit_in_bytes", "memory.max"):
            if (group / name).exists():
                (group / name).write_text(str(LIMIT))
        yield ["sh", "-c", f'echo 0 >{group}/cgroup.procs && exec "$@"', "sh"]
    finally:
        _remove(group)


def _remove(group: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while group.exists():
        try:
            group.rmdir()
        except OSError:  # it empties a moment after its last process is gone
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_a_worker_that_the_kernel_killed_for_memory(cause: Cause, limited: list[str]) -> None:
    status, words = cause(EATER, *limited)
    assert status == 128 + signal.SIGKILL
    assert words.startswith("out of memory: the kernel killed it")
    assert words.endswith("; its cgroup may have 128 MiB")


def test_a_child_of_a_worker_that_the_kernel_killed(cause: Cause, limited: list[str]) -> None:
    script = "import subprocess, sys\n"
    script += f"subprocess.run([sys.executable, '-c', {EATER!r}], check=True)"
    status, words = cause(script, *limited)
    assert status == 1
    assert words.startswith("out of memory: the kernel killed a process of the job; its cgroup")
    assert "; subprocess.CalledProcessError: Command" in words


def test_sigkill_from_somebody_in_spite_of_a_limit(cause: Cause, limited: list[str]) -> None:
    status, words = cause("os.kill(os.getpid(), 9)", *limited)
    assert status == 128 + signal.SIGKILL
    assert not words.startswith("out of memory:")


# ---- disks


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "x", folder], check=True)
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.mark.parametrize("inside", [True, False], ids=["workdir", "elsewhere"])
def test_a_full_file_system(cause: Cause, small: Path, tmp_path: Path, inside: bool) -> None:
    name = "model.pt" if inside else f"{small}/model.pt"
    script = f"with open({name!r}, 'wb', 0) as f:\n  while True: f.write(b'x' * 4096)\n"
    status, words = cause(script, cwd=small if inside else tmp_path)
    assert status == 1
    expected = "OSError: [Errno 28] No space left on device (train.py:4)"
    assert words.startswith(expected)
    if inside:
        assert words == f"{expected}; no space left on {small} (1 MiB)"


# ---- exceptions

CHAINED = """
def load():
    return {}["model"]
try:
    load()
except KeyError:
    raise RuntimeError("no model")
"""


@pytest.mark.parametrize(
    ("script", "status", "words"),
    [
        ("raise ValueError('loss is nan')", 1, "ValueError: loss is nan (train.py:3)"),
        (CHAINED, 1, "RuntimeError: no model (train.py:9), after KeyError: 'model'"),
        ("import sys; sys.exit(3)", 3, ""),
        ("import sys; sys.exit('enough')", 1, ""),
        ("print('bind: Address already in use'); os._exit(4)", 4,
         "a port is taken by another program"),
        ("import faulthandler; faulthandler.enable(); os.abort()", 134, "Aborted"),
    ],
)  # fmt: skip
def test_exceptions(cause: Cause, script: str, status: int, words: str) -> None:
    assert cause(script) == (status, words)


# What a data loader does whose tensors come as open files.
TENSORS = """
import multiprocessing.reduction as reduction, resource, socket
ours, loaders = socket.socketpair()
reduction.sendfds(loaders, [0])
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
taken = []
try:
    while True:
        taken.append(os.dup(0))
except OSError:
    reduction.recvfds(ours, 1)
"""


def test_a_data_loader_that_finds_no_more_open_files(cause: Cause) -> None:
    status, words = cause(TENSORS)
    assert status == 1
    assert words.startswith("RuntimeError: received 0 items of ancdata (")
    assert "; the limit of open files is reached: ulimit -n raises it" in words


# ---- torch

RECORDED = """
from torch.distributed.elastic.multiprocessing.errors import record

@record
def main():
    raise ValueError("loss is nan")

try:
    main()
except ValueError:
    os._exit(7)
"""


@pytest.mark.torch
@pytest.mark.timeout(120)
def test_an_exception_that_only_record_has_seen(cause: Cause) -> None:
    assert cause(RECORDED) == (7, "ValueError: loss is nan (train.py:8)")


@pytest.mark.torch
def test_the_users_own_error_file_is_left_to_the_user(cause: Cause, tmp_path: Path) -> None:
    own = tmp_path / "own.json"
    assert cause(RECORDED, TORCHELASTIC_ERROR_FILE=str(own)) == (7, "")
    assert "loss is nan" in own.read_text()


ALIKE = """
import os, pathlib, time
here, rank = pathlib.Path(os.environ["MADRUN_JOB_ID"]), int(os.environ["RANK"])
here.mkdir(exist_ok=True)
(here / str(rank)).touch()
while len(list(here.iterdir())) < int(os.environ["WORLD_SIZE"]):
    time.sleep(0.001)
if rank % 2:
    raise ValueError("bad batch")
time.sleep(600)
"""


def test_ranks_that_raise_the_same_are_told_as_such_and_no_others(tmp_path: Path) -> None:
    """One whose word comes too late may have been ended before it could raise."""
    (tmp_path / "alike.py").write_text(ALIKE)
    done = subprocess.run(
        [BIN / "madrun", "--hosts", "localhost:4", "alike.py"],
        cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    raised = re.findall(r"^\[localhost:(\d)\] ValueError: bad batch", done.stderr, re.MULTILINE)
    alike = re.findall(r"^madrun: failed alike: ranks ([0-9,]+)", done.stderr, re.MULTILINE)
    assert sorted(raised) in (["1"], ["3"], ["1", "3"]), done.stderr
    assert alike == (["1,3"] if len(raised) == 2 else []), done.stderr
    ended = "0,2" if len(raised) == 2 else "0,2-3" if raised == ["1"] else "0-2"
    assert f"madrun: ended because of it: ranks {ended}\n" in done.stderr
