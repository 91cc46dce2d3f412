"""accelerate #2240, #647, pytorch #150532: a port in use was found out by the workers."""

from __future__ import annotations

import socket

from support.here import madrun


def test_a_port_in_use_is_named_and_nobody_starts() -> None:
    with socket.create_server(("", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = madrun("--master-port", port, "--no-python", "echo", "started")
    assert (done.returncode, done.stdout) == (125, "")
    assert f"master port {port} cannot be used here: Address already in use" in done.stderr
