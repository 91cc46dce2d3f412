"""DeepSpeed #5221: with a mistyped hostfile it trained on one machine, silently."""

from __future__ import annotations

from support.here import refused


def test_a_hostfile_that_was_named_has_to_be_there() -> None:
    assert "hostfile /typo: No such file or directory" in refused("--hostfile", "/typo")
    assert "/typo" in refused(env={"MADRUN_HOSTFILE": "/typo"})
