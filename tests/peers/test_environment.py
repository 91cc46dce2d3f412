"""The workers' environment: what is exported, from which file, byte for byte, and what never is."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from support.cluster import Cluster
from support.here import madrun, planned, refused, shown

TEXT = """
# a comment, then a blank line

export A=1
B="two
lines"  # and a note
"""


def test_an_env_file_as_people_write_it_is_understood(tmp_path: Path) -> None:
    """accelerate #2425, #2565: a blank line, a comment or a long value in the file was a crash."""
    (tmp_path / "env").write_text(TEXT)
    words = ["--env-file", "env", "--no-python", "sh", "-c", 'echo "$A, $B"']
    assert shown(*words, cwd=tmp_path) == sorted(["1, two", "lines"])


def test_an_error_in_an_env_file_has_a_line(tmp_path: Path) -> None:
    """accelerate #2425, #2565."""
    (tmp_path / "env").write_text("A=1\n\nwhat is this\n")
    assert "env:3: there is no = in it" in refused("--env-file", "env", cwd=tmp_path)


def test_the_later_env_file_wins_and_homes_comes_first(tmp_path: Path) -> None:
    """DeepSpeed #4992, #4006, #3965: which of two files wins has changed twice."""
    home, here = tmp_path / "home", tmp_path / "here"
    for folder in (home, here):
        folder.mkdir()
        (folder / ".deepspeed_env").write_text(f"A={folder.name}\nB={folder.name}\n")
    (home / ".deepspeed_env").write_text("A=home\nB=home\nC=home\n")
    (here / "asked").write_text("A=asked\n")
    words = ["--env-file", "asked", "--no-python", "sh", "-c", "echo $A $B $C"]
    assert shown(*words, cwd=here, env={"HOME": str(home)}) == ["asked here home"]


def test_the_env_file_is_read_for_one_node_too(tmp_path: Path) -> None:
    """DeepSpeed: the environment file was not read for a job on one node."""
    (tmp_path / ".deepspeed_env").write_text("GREETING=hello\n")
    assert shown("--no-python", "sh", "-c", "echo $GREETING", cwd=tmp_path) == ["hello"]


VALUE = json.dumps({"lr": 0.1, "name": 'it\'s "$HOME"'})

SHOW = ("--no-prefix", "--no-python", sys.executable, "-c", "import os; print(os.environ['CONF'])")


def test_json_in_a_variable_stays_json_here() -> None:
    """DeepSpeed #5878, #6997, #7071, #1907: values were quoted once too often, or once too few."""
    assert shown("--hosts", "localhost", "--export", f"CONF={VALUE}", *SHOW) == [VALUE]


def test_json_in_a_variable_stays_json_on_other_hosts(cluster: Cluster) -> None:
    """DeepSpeed #5878, #6997, #7071, #1907."""
    done = cluster.madrun("--hosts", "node01,head", "--export", "CONF", *SHOW, env={"CONF": VALUE})
    assert (done.returncode, done.stdout) == (0, f"{VALUE}\n{VALUE}\n"), done.stderr


OURS = {"HOME": "/ours", "PWD": "/ours", "SSH_AUTH_SOCK": "/ours", "DISPLAY": ":7",
        "LS_COLORS": "x", "XDG_RUNTIME_DIR": "/ours", "SLURM_PROCID": "3"}  # fmt: skip


def test_what_belongs_to_this_login_stays_here() -> None:
    """accelerate #514, peft #110: HOME and PWD went to every node, and PYTHONPATH was replaced."""
    plan = planned("--hosts", "node1,node2", "--export-all", env={**OURS, "PYTHONPATH": "/a:/b"})
    env = plan["nodes"][0]["processes"][0]["env"]
    assert not OURS.keys() & env.keys()
    assert env["PYTHONPATH"] == "/a:/b"


USUAL = {"WANDB_MODE": "offline", "HF_HOME": "/hf", "NCCL_DEBUG": "INFO", "LD_LIBRARY_PATH": "/l",
         "UCX_TLS": "tcp", "MLFLOW_RUN": "7", "TOKENIZERS_PARALLELISM": "0"}  # fmt: skip


def exported(*words: str) -> dict[str, str]:
    plan = planned(
        "--hosts", "node1,node2", *words, env={**USUAL, "MY_SETTING": "x", "MY_OTHER": "y"}
    )
    env: dict[str, str] = plan["nodes"][1]["processes"][0]["env"]
    return env


def test_the_settings_of_the_field_travel_unasked() -> None:
    """ArcticTraining #316, determined #7294, DeepSpeed #1687: WANDB, HF and others were dropped."""
    assert exported().items() >= USUAL.items()
    assert not {"MY_SETTING", "MY_OTHER"} & exported().keys()


def test_other_settings_travel_by_name_by_prefix_or_all_together() -> None:
    """ArcticTraining #316, determined #7294, DeepSpeed #1687."""
    assert exported("--export", "MY_SETTING")["MY_SETTING"] == "x"
    assert exported("--export", "MY_*")["MY_OTHER"] == "y"
    assert exported("--export-all")["MY_OTHER"] == "y"


ENV = {"BASH_FUNC_module%%": "() { echo; }", "WITH.DOT": "x", "WANDB_API_KEY": "hunter2"}


def test_everything_exported_and_nothing_shown() -> None:
    """ColossalAI #3638, #4688, #5890: exported functions broke it, and errors showed all values."""
    words = ["--hosts", "localhost", "--export-all", "--no-python", "sh", "-c"]
    done = madrun(*words, "test $WANDB_API_KEY = hunter2 && exit 3", env=ENV)
    assert done.returncode == 3
    assert "hunter2" not in done.stdout + done.stderr


def test_the_agents_command_has_nothing_of_the_users() -> None:
    """DeepSpeed: exports, and with them tokens, stood on every node's command line."""
    plan = planned(
        "--hosts", "n[1-2]", "--export", "TOKEN=s3cr3t", env={"WANDB_API_KEY": "s3cr3t-too"}
    )
    for node in plan["nodes"]:
        assert not any("s3cr3t" in word or "train.py" in word for word in node["command"])


NAMES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "NODE_RANK", "GROUP_RANK",
         "NNODES", "NPROC_PER_NODE", "LOCAL_SIZE", "CROSS_RANK", "CROSS_SIZE")  # fmt: skip


def test_torchruns_variables_are_there() -> None:
    """DeepSpeed: LOCAL_WORLD_SIZE, NODE_RANK and GROUP_RANK were missing for torchrun's scripts."""
    words = ["--hosts", "localhost:2", "--output", "1", "--no-python", "sh", "-c"]
    (line,) = shown(*words, f"echo {' '.join('$' + name for name in NAMES)}; test $MASTER_PORT")
    assert line == "1 2 1 2 0 0 1 2 2 0 1"


def test_local_rank_is_the_index_on_the_node() -> None:
    """DeepSpeed #3408: LOCAL_RANK was rotated on nodes with different numbers of GPUs."""
    nodes = planned("--hosts", "a:2,b:3,c:1")["nodes"]
    local = [[each["env"]["LOCAL_RANK"] for each in node["processes"]] for node in nodes]
    assert local == [["0", "1"], ["0", "1", "2"], ["0"]]
    ranks = [each["env"]["RANK"] for node in nodes for each in node["processes"]]
    assert ranks == ["0", "1", "2", "3", "4", "5"]
