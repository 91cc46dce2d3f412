"""What torchrun sets for a worker, ``native`` sets as well: compared with a real torchrun."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from support.cluster import BIN
from support.here import environment, madrun

pytestmark = pytest.mark.torch

SCRIPT = """
import json, os, sys
with open(os.path.join(sys.argv[1], os.environ["RANK"]), "w") as file:
    json.dump(dict(os.environ), file)
"""
# There is no agent store, rank 0 serves the store itself; and the signals are torchrun's own.
NOT_OURS = {"TORCHELASTIC_USE_AGENT_STORE", "TORCHELASTIC_SIGNALS_TO_HANDLE"}
# These differ from one launch to the next.
OF_A_LAUNCH = {"MASTER_ADDR", "MASTER_PORT", "TORCHELASTIC_RUN_ID", "TORCHELASTIC_ERROR_FILE"}


def environments(folder: Path) -> list[dict[str, str]]:
    """What the two ranks saw."""
    return [json.loads((folder / str(rank)).read_text(encoding="utf-8")) for rank in range(2)]


def test_every_variable_of_torchrun_is_set(tmp_path: Path) -> None:
    script = tmp_path / "show.py"
    script.write_text(SCRIPT, encoding="utf-8")
    theirs, ours = tmp_path / "torchrun", tmp_path / "madrun"
    theirs.mkdir()
    ours.mkdir()
    env = environment(OMP_NUM_THREADS="3")
    subprocess.run(
        [BIN / "torchrun", "--nproc-per-node", "2", script, theirs],
        env=env, check=True, capture_output=True, timeout=100,
    )  # fmt: skip
    done = madrun("--nproc-per-node", "2", script, str(ours), env={"OMP_NUM_THREADS": "3"})
    assert done.returncode == 0, done.stderr
    for theirs_here, ours_here in zip(environments(theirs), environments(ours), strict=True):
        own = {name for name, value in theirs_here.items() if env.get(name) != value}
        wanted = own - NOT_OURS - {"_", "PWD", "OLDPWD", "SHLVL"}
        assert wanted - ours_here.keys() == set()
        same = wanted - OF_A_LAUNCH
        assert {n: ours_here[n] for n in same} == {n: theirs_here[n] for n in same}
        assert not NOT_OURS & ours_here.keys()


def test_torch_sees_that_it_was_launched() -> None:
    code = "import torch.distributed as d, sys; sys.exit(not d.is_torchelastic_launched())"
    done = madrun("--hosts", "localhost:1", "--no-python", sys.executable, "-c", code)
    assert done.returncode == 0, done.stderr
