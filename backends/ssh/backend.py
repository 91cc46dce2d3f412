"""The SSH backend: one login per host with paramiko, all in parallel, no tool needed."""

from __future__ import annotations

import shlex
import socket
import threading
import time
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from madrun.backends.agents.local import LocalAgent
from madrun.backends.agents.output import follow
from madrun.backends.base import AgentStart, Listener, tell_step
from madrun.hosts.local_host import is_here
from madrun.hosts.reach import own_address_towards
from madrun.system.errors import ClusterError

if TYPE_CHECKING:
    import paramiko

    from madrun.backends.ssh.login import Login, Logins

_READ = 4096
_CLOSE_LIMIT = 1.0  # seconds for all connections together


class SshBackend:
    """A thread per host logs in, starts the agent there, and follows it to its end."""

    def __init__(self, launch: AgentStart, listener: Listener) -> None:
        self._launch, self._listener = launch, listener
        self._slots = threading.BoundedSemaphore(launch.ssh.fan_out)
        self._lock = threading.Lock()
        self._transports: list[paramiko.Transport] = []
        self._own: list[LocalAgent] = []
        self._logins: Logins | None = None
        self._closed = False

    def start(self) -> None:
        """Log in everywhere; returns at once."""
        for node_rank in range(len(self._launch.hosts)):
            threading.Thread(
                target=self._run, args=(node_rank,), name=f"ssh-{node_rank}", daemon=True
            ).start()

    def close(self) -> None:
        """Hang up: an agent that still runs sees the end of its stdin."""
        with self._lock:
            self._closed = True
            transports, own = self._transports, self._own
        for agent in own:
            agent.close()
        for transport in transports:
            transport.close()
        if self._logins is not None and self._logins.indirect:
            # What goes through a jump host has to be closed before it.
            deadline = time.monotonic() + _CLOSE_LIMIT
            for transport in transports:
                transport.join(max(0.0, deadline - time.monotonic()))
            self._logins.close()

    def _run(self, node_rank: int) -> None:
        host = self._launch.hosts[node_rank]
        if is_here(host):
            agent = LocalAgent(self._launch, node_rank, self._listener)
            with self._lock:
                self._own.append(agent)
            agent.run(self._own_addresses())
            return
        try:
            with self._slots:
                channel, addresses = self._start_agent(node_rank)
        except ClusterError as error:
            self._listener.agent_failed(node_rank, str(error))
            return
        except Exception as error:  # the outermost frame of this thread: nobody else would tell
            self._listener.agent_failed(node_rank, f"{type(error).__name__}: {error}")
            return
        follow(
            lambda: channel.recv(_READ),
            channel.recv_exit_status,
            node_rank,
            self._listener,
            addresses,
            self._launch.python,
        )

    def _start_agent(self, node_rank: int) -> tuple[paramiko.Channel, Sequence[str]]:
        """Log in and start the agent; returns its channel and the host's addresses."""
        import paramiko

        host = self._launch.hosts[node_rank]
        tell_step(self._listener, node_rank, "connecting")
        connected = partial(tell_step, self._listener, node_rank, "connected")
        login = self._get_logins().log_in(host, connected)
        transport = login.transport
        tell_step(self._listener, node_rank, "logged_in")
        with self._lock:
            self._transports.append(transport)
            if self._closed:
                transport.close()
        try:
            runner, ports, addresses = self._ways(login, host.address)
            argv = self._launch.command(node_rank, runner, ports)
            channel = transport.open_session(timeout=self._launch.ssh.connect_timeout)
            channel.set_combine_stderr(True)
            # Nothing in this line comes from the user but the interpreter's path.
            channel.exec_command("exec env PYTHONSAFEPATH=1 " + shlex.join(argv))
            tell_step(self._listener, node_rank, "asked")
        except (paramiko.SSHException, OSError, EOFError) as error:
            raise ClusterError(f"no session after the login: {error}") from None
        return channel, addresses

    def _ways(
        self, login: Login, address: str
    ) -> tuple[Sequence[str], tuple[int, int], Sequence[str]]:
        """The runner's address and ports as the host sees them, and the host's addresses.

        They are the two ends of the login's own connection. Behind a proxy there is no such
        connection, and often no way back: then the channel comes back through the login.
        """
        if not login.direct:
            from madrun.backends.ssh.tunnel import tunnel

            ports = tunnel(login.transport, self._launch.ports)
            return ["127.0.0.1"], ports, [address]
        assert isinstance(login.transport.sock, socket.socket)
        here = login.transport.sock.getsockname()[0]
        there = login.transport.sock.getpeername()[0]
        return [here], self._launch.ports, [there, address]

    def _own_addresses(self) -> list[str]:
        """How the others reach this machine: the address that leads to the first of them."""
        for host in self._launch.hosts:
            if not is_here(host):
                address = own_address_towards(self._get_logins().route(host)[-1].hostname)
                if address:
                    return [address, socket.gethostname()]
        return [socket.gethostname()]

    def _get_logins(self) -> Logins:
        with self._lock:
            if self._logins is None:
                from madrun.backends.ssh.login import Logins

                self._logins = Logins(self._launch.ssh)
            return self._logins
