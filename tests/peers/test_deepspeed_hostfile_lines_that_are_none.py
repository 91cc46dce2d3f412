"""DeepSpeed: 4abc slots, no slots, options for ssh as host names, ranges left to pdsh."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.here import planned, refused


@pytest.mark.parametrize(
    "line",
    ["n1 slots=4abc", "n1 slots=0", "n1 slots=", "-oProxyCommand=id slots=1", "n[1- slots=1",
     "n1; slots=1", "n1 slots=1 n2"],
)  # fmt: skip
def test_a_bad_line_is_named(tmp_path: Path, line: str) -> None:
    (tmp_path / "hosts").write_text(f"good slots=1\n{line}\n")
    assert "madrun: hosts:2: " in refused("-H", "hosts", cwd=tmp_path)


def test_a_range_is_as_many_hosts(tmp_path: Path) -> None:
    (tmp_path / "hosts").write_text("n[1-4] slots=1\n")
    assert list(planned("-H", "hosts", cwd=tmp_path)["world"]) == ["n1", "n2", "n3", "n4"]
