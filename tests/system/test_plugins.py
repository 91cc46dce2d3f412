"""What is found by name: built-in objects, and those of installed packages."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

GOOD = """
from madrun.options.option_types import count
from madrun.launchers.launcher import Launcher
from madrun.launchers.native import LAUNCHER as NATIVE
LAUNCHER = Launcher("mine", NATIVE.plan, NATIVE.kind)
"""


def installed(folder: Path, name: str, entry: str = "mine", text: str = GOOD) -> None:
    """A package with one launcher, as pip leaves it in a folder."""
    info = folder / f"{name}-1.5.dist-info"
    info.mkdir()
    info.joinpath("METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.5\n")
    info.joinpath("entry_points.txt").write_text(f"[madrun.launchers]\n{entry}={name}:LAUNCHER\n")
    folder.joinpath(f"{name}.py").write_text(text)


def said(folder: Path, *words: str) -> str:
    """What madrun says of a job with this launcher, where these packages are installed."""
    done = subprocess.run(
        [sys.executable, "-m", "madrun.runner", *words, "--dry-run", "x.py"],
        capture_output=True, text=True, timeout=60,
        env={**os.environ, "PYTHONPATH": str(folder)},
    )  # fmt: skip
    return done.stderr if done.returncode else done.stdout


def test_a_launcher_of_a_package_is_found_in_any_spelling(tmp_path: Path) -> None:
    installed(tmp_path, "good")
    assert "launcher mine" in said(tmp_path, "--launcher", "Mine")
    assert said(tmp_path, "--launcher", "nobodys").rstrip().endswith("vllm, mine")
    assert "unknown key 'x'" in said(tmp_path, "--launcher", "mine", "--launcher-opt", "x=1")


def test_a_config_may_have_a_section_for_it(tmp_path: Path) -> None:
    installed(tmp_path, "good", text=GOOD.replace("kind)", "kind, {'depth': count})"))
    config = tmp_path / "job.json"
    config.write_text('{"distributed": {"launcher": "mine", "mine": {"depth": "two"}}}')
    found = said(tmp_path, "--config", str(config))
    assert f"{config}: distributed.mine: Invalid depth: 'two'" in found


def test_a_name_of_madruns_own_reads_no_entry_points(tmp_path: Path) -> None:
    words = ["-m", "madrun.runner", "--launcher", "torchrun", "--backend", "ssh", "--hosts", "a"]
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *words, "--dry-run", "x.py"],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert "madrun.runner.dry_run" in done.stderr
    assert "importlib.metadata" not in done.stderr


def test_a_package_that_takes_a_name_of_madruns_is_named(tmp_path: Path) -> None:
    installed(tmp_path, "greedy", entry="torch")
    assert said(tmp_path, "--launcher", "other") == (
        "madrun: the package greedy 1.5 brings a launcher 'torch', which madrun has itself: "
        "it needs another name\n"
    )
    assert "launcher torchrun" in said(tmp_path, "--launcher", "torch"), "ours is not touched"


def test_two_packages_with_one_name_are_named(tmp_path: Path) -> None:
    installed(tmp_path, "first")
    installed(tmp_path, "second")
    assert said(tmp_path, "--launcher", "mine") == (
        "madrun: the package first 1.5 and the package second 1.5 bring a launcher 'mine' each: "
        "only one can be meant\n"
    )


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("raise OSError('no license')", "cannot be used for the launcher 'mine': OSError: no lic"),
        (GOOD.replace('"mine"', '"yours"'), "and its name is 'yours'"),
        ("class LAUNCHER:\n    name = 'mine'\n", "launcher 'mine': type is no Launcher"),
    ],
)
def test_a_package_that_cannot_be_used_is_named(tmp_path: Path, text: str, reason: str) -> None:
    installed(tmp_path, "bad", text=text)
    found = said(tmp_path, "--launcher", "mine")
    assert reason in found
    assert found.count("\n") == 1
