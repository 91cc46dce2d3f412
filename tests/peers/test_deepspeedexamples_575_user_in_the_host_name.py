"""DeepSpeedExamples #575: ``user@host`` stood in hostfiles, and no filter could name it."""

from __future__ import annotations

from support.here import planned


def test_a_host_with_a_user_can_be_chosen() -> None:
    hosts = ["--hosts", "alice@node1:2,bob@node2:2,node3:2"]
    assert planned(*hosts, "-i", "alice@node1:1")["world"] == {"alice@node1": [1]}
    world = planned(*hosts, "-i", "alice@node1@node3:0")["world"]
    assert world == {"alice@node1": [0, 1], "node3": [0]}
