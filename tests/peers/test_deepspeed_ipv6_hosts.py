"""DeepSpeed: a host named by its IPv6 address could not be filtered."""

from __future__ import annotations

from support.here import planned


def test_an_ipv6_address_can_be_chosen() -> None:
    plan = planned("--hosts", "[fd00::1]:4,[fd00::2]:4", "-i", "[fd00::2]:1,2@[fd00::1]:0")
    assert plan["world"] == {"fd00::1": [0], "fd00::2": [1, 2]}
