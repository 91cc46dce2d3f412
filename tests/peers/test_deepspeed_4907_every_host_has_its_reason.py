"""DeepSpeed #4907, #579: only host 0 was probed, at one port for all, and it said little."""

from __future__ import annotations

from pathlib import Path

from support.here import madrun


def test_each_host_each_port_each_reason(tmp_path: Path) -> None:
    (tmp_path / "hosts").write_text("127.0.0.1 slots=1 port=1\nroot@127.0.0.2 slots=1 port=2\n")
    done = madrun("-H", "hosts", "--no-python", "true", cwd=tmp_path)
    assert done.returncode == 125
    assert "2 of 2 hosts cannot run it" in done.stderr
    for name, place in (("127.0.0.1", "127.0.0.1 port 1"), ("root@127.0.0.2", "127.0.0.2 port 2")):
        lines = [line.split() for line in done.stderr.splitlines() if f" {name} " in f"{line} "]
        assert lines == [[name, "unreachable:", *f"{place}: Connection refused".split()]]
