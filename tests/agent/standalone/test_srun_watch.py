"""That srun was killed is seen; tests/slurm/test_forms.py has the real one."""

from __future__ import annotations

import socket

from madrun.agent.standalone.srun_watch import Srun, SrunWatch, connections_to, srun_of
from madrun.system.loop import Loop

INTERVAL = 0.05


def test_where_srun_listens() -> None:
    environ = {"SLURM_SRUN_COMM_HOST": "127.0.0.1", "SLURM_SRUN_COMM_PORT": "4711"}
    assert srun_of(environ) == Srun("127.0.0.1", 4711)
    assert srun_of({**environ, "SLURM_SRUN_COMM_PORT": "x"}) is None
    assert srun_of({}) is None


def test_connections_are_found_in_the_kernels_table() -> None:
    for family, address in ((socket.AF_INET, "127.0.0.7"), (socket.AF_INET6, "::1")):
        before = connections_to(address)
        with (
            socket.create_server((address, 0), family=family) as server,
            socket.create_connection(server.getsockname()[:2]),
        ):
            assert connections_to(address) - before
        assert not connections_to(address) - before


def test_an_srun_that_is_gone_is_told_once() -> None:
    loop, told = Loop(), list[str]()
    with socket.create_server(("127.0.0.8", 0)) as server:
        srun = Srun("127.0.0.8", server.getsockname()[1])
        slurmstepd = socket.create_connection(srun)
        there, _ = server.accept()
        watch = SrunWatch(srun)
    with slurmstepd:
        there.close()

        def gone() -> None:
            told.append("gone")
            loop.call_later(4 * INTERVAL, loop.stop)

        watch.begin(loop, INTERVAL, gone)
        loop.run()
    loop.close()
    assert told == ["gone"]


def test_another_connection_that_ends_is_not_srun() -> None:
    """Of another step from the same host: srun is asked, and it still listens."""
    loop, told = Loop(), list[str]()
    with socket.create_server(("127.0.0.9", 0)) as server:
        srun = Srun("127.0.0.9", server.getsockname()[1])
        ours, other = socket.create_connection(srun), socket.create_connection(srun)
        accepted = [server.accept()[0] for _ in range(2)]
        watch = SrunWatch(srun)
        other.close()
        watch.begin(loop, INTERVAL, lambda: told.append("gone"))
        # It asks by a connection of its own; then it has looked.
        loop.watch(server.fileno(), loop.stop)
        loop.run()
        asked, _ = server.accept()
        for each in (ours, asked, *accepted):
            each.close()
    loop.close()
    assert told == []
