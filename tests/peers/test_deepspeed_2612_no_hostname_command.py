"""DeepSpeed #2612, #4649, #6497: ``hostname -I`` is not everywhere, and may answer nothing."""

from __future__ import annotations

import sys

from support.cluster import Cluster


def test_no_shell_tool_is_needed_on_a_node(cluster: Cluster) -> None:
    folder = cluster.share / "nearly-empty-path"
    folder.mkdir(exist_ok=True)
    if not (folder / "env").exists():
        (folder / "env").symlink_to("/usr/bin/env")
    with cluster.login_shell(f"PATH={folder}\n"):
        done = cluster.madrun(
            *("--hosts", "node01,node02", "--export", f"PATH={folder}", "--no-prefix"),
            *("--no-python", sys.executable, "-c", "print('ran')"),
        )
    assert (done.returncode, done.stdout) == (0, "ran\nran\n"), done.stderr
