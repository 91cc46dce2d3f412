"""DeepSpeed #4510: 30 seconds for each worker, one after another."""

from __future__ import annotations

import signal
import sys

from support.here import running

# Each waits in its handler until all have been told; told one by one, none would ever leave.
TOGETHER = """
import os, signal, socket
rank, size, port = (int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "MASTER_PORT"))
def told(number, frame):
    if rank == 0:
        peers = [server.accept()[0] for _ in range(size - 1)]
        print("all were told", flush=True)
    else:
        socket.create_connection(("127.0.0.1", port)).recv(1)
    os._exit(0)
signal.signal(signal.SIGTERM, told)
server = socket.create_server(("127.0.0.1", port)) if rank == 0 else None
print("up", rank, flush=True)
while True:
    signal.pause()
"""


def test_all_are_told_at_once() -> None:
    words = ["--nproc-per-node", "3", "--grace", "3600", "--no-python", sys.executable, "-c"]
    with running(*words, TOGETHER) as job:
        job.until(r"up \d", 3)
        assert job.end(signal.SIGTERM) == 143
        assert "all were told" in job.said
