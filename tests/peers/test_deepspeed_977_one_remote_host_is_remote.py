"""DeepSpeed #977, DeepSpeed-MII #243: one remote host in the hostfile, and the job ran here."""

from __future__ import annotations

from pathlib import Path

from support.here import planned, refused


def test_one_remote_host_is_logged_in_to(tmp_path: Path) -> None:
    (tmp_path / "hosts").write_text("192.0.2.7 slots=2\n")
    plan = planned("-H", "hosts", cwd=tmp_path)
    assert (plan["backend"], plan["world"]) == ("ssh", {"192.0.2.7": [0, 1]})
    assert "192.0.2.7 is another machine" in refused(
        "-H", "hosts", "--backend", "local", cwd=tmp_path
    )


def test_a_backend_that_was_named_is_taken() -> None:
    assert planned("--hosts", "localhost:2", "--backend", "ssh")["backend"] == "ssh"
    assert planned("--hosts", "localhost:2")["backend"] == "local"
