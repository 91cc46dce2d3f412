"""DeepSpeed #191, #3916: always port 29500, so that the second job found it in use."""

from __future__ import annotations

import signal
import sys

from support.here import running

SERVE = """
import os, signal, socket
port = int(os.environ["MASTER_PORT"])
server = socket.create_server(("", port))
print("port", port, flush=True)
signal.pause()
"""


def test_a_second_job_has_a_port_of_its_own() -> None:
    words = ["--no-python", sys.executable, "-c", SERVE]
    with running(*words) as one, running(*words) as two:
        assert one.until(r"port (\d+)") != two.until(r"port (\d+)")
        assert [one.end(signal.SIGTERM), two.end(signal.SIGTERM)] == [143, 143]
