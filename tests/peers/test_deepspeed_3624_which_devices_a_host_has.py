"""DeepSpeed #3624: "slots=2" could not say which devices, and include 2,3 was refused."""

from __future__ import annotations

from pathlib import Path

from support.here import planned


def test_a_host_may_name_its_devices(tmp_path: Path) -> None:
    (tmp_path / "hosts").write_text("node1 devices=2,3\nnode2 slots=2\n")
    plan = planned("-H", "hosts", "-i", "node1:3@node2", cwd=tmp_path)
    assert plan["world"] == {"node1": [3], "node2": [0, 1]}
