"""ColossalAI #3638, #4688, #5890: exported functions broke it, and errors showed all values."""

from __future__ import annotations

from support.here import madrun

ENV = {"BASH_FUNC_module%%": "() { echo; }", "WITH.DOT": "x", "WANDB_API_KEY": "hunter2"}


def test_everything_exported_and_nothing_shown() -> None:
    words = ["--hosts", "localhost", "--export-all", "--no-python", "sh", "-c"]
    done = madrun(*words, "test $WANDB_API_KEY = hunter2 && exit 3", env=ENV)
    assert done.returncode == 3
    assert "hunter2" not in done.stdout + done.stderr
