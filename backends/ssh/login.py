"""Logging in to hosts with paramiko, as the user's ssh would, and why it failed if it did."""

from __future__ import annotations

import logging
import random
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, NamedTuple

import paramiko

from madrun.backends.ssh import reasons
from madrun.backends.ssh.host_key import HostKeys
from madrun.backends.ssh.identities import Agent, KeyFiles, offered
from madrun.backends.ssh.proxy_command import ProxyCommand, start_proxy
from madrun.backends.ssh.route import find_route
from madrun.backends.ssh.settings import Asked, Target
from madrun.hosts.hostfile import Host
from madrun.hosts.reach import Race
from madrun.options.request import Ssh
from madrun.system.errors import ClusterError

logging.getLogger("paramiko").addHandler(logging.NullHandler())
logging.getLogger("paramiko").propagate = False

_FIRST_PAUSE = 0.2  # seconds, doubled each time
_KEEPALIVE = 15  # seconds; the channel's own heartbeats are what notices a lost host


class Login(NamedTuple):
    """A connection that is logged in; ``direct`` where it is the host's own TCP connection."""

    transport: paramiko.Transport
    direct: bool


class Logins:
    """Logs in to the hosts of one job; a jump host is logged in to once for all of them."""

    def __init__(self, options: Ssh) -> None:
        self._options = options
        self._host_keys = HostKeys()
        self._key_files = KeyFiles()
        self._lock = threading.Lock()
        self._jumps: dict[tuple[Target, ...], Future[Login]] = {}
        self._proxies: dict[socket.socket, ProxyCommand] = {}

    def route(self, host: Host) -> tuple[Target, ...]:
        """The host as ssh_config and the options have it, behind its jump hosts."""
        options = self._options
        asked = Asked(
            user=host.user or options.user,
            port=host.port or options.port,
            key=options.key,
            accept_new=options.accept_new,
        )
        return find_route(host.address, asked)

    def log_in(self, host: Host, connected: Callable[[], None] = lambda: None) -> Login:
        """A login; raises ClusterError. ``connected()`` is called half way."""
        return self._connect(self.route(host), connected)

    @property
    def indirect(self) -> bool:
        """True where any host was reached through another one or by a command."""
        return bool(self._jumps or self._proxies)

    def close(self) -> None:
        """Let go of the jump hosts and of what ProxyCommand has started."""
        for jump in self._jumps.values():
            if jump.done() and jump.exception() is None:
                jump.result().transport.close()
        for command in self._proxies.values():
            command.end()

    def _connect(
        self, route: tuple[Target, ...], connected: Callable[[], None] = lambda: None
    ) -> Login:
        """Connect; an sshd that is busy (MaxStartups) drops some, who try again a little later."""
        deadline = time.monotonic() + self._options.connect_timeout
        pause = _FIRST_PAUSE
        while True:
            try:
                return self._connect_once(route, connected)
            except reasons.HungUp as error:
                if time.monotonic() + pause > deadline:
                    raise ClusterError(reasons.DROPPED) from error
            time.sleep(pause * random.uniform(0.5, 1.0))  # so that they do not all come again
            pause *= 2

    def _connect_once(self, route: tuple[Target, ...], connected: Callable[[], None]) -> Login:
        target = route[-1]
        sock, direct = self._socket(route)
        connected()
        try:
            address = sock.getpeername()[0] if direct else ""
            transport = paramiko.Transport(sock)
        except OSError as error:
            sock.close()
            raise ClusterError(reasons.unreachable(error, target, self._limit)) from None
        try:
            self._shake_hands(transport, target)
            self._host_keys.check(transport, target, address)
            self._authenticate(transport, target)
        except BaseException as error:
            transport.close()
            if isinstance(error, reasons.HungUp) and sock in self._proxies:
                raise self._proxies[sock].failure() from None
            raise
        transport.set_keepalive(_KEEPALIVE)
        return Login(transport, direct)

    @property
    def _limit(self) -> float:
        return self._options.connect_timeout

    def _shake_hands(self, transport: paramiko.Transport, target: Target) -> None:
        limit = self._limit
        transport.banner_timeout = transport.handshake_timeout = transport.auth_timeout = limit
        self._host_keys.prefer(transport, target)
        begun, done = time.monotonic(), threading.Event()
        transport.start_client(done)
        done.wait(limit)
        if not done.is_set() or not transport.is_active():
            # The banner's own limit is as long as ours: who is first is chance.
            late = time.monotonic() - begun > limit * 0.9
            raise reasons.no_handshake(transport, target, limit, late)

    def _authenticate(self, transport: paramiko.Transport, target: Target) -> None:
        agent = Agent(target.agent)
        tried = 0
        try:
            for key in offered(target.keys, target.only_these_keys, agent, self._key_files):
                tried += 1
                if self._is_accepted(transport, target, key, tried):
                    return
        finally:
            agent.close()
        problem = self._key_files.problem(target.keys)
        raise ClusterError(reasons.refused(target.user, tried, problem))

    def _is_accepted(
        self, transport: paramiko.Transport, target: Target, key: paramiko.PKey, tried: int
    ) -> bool:
        try:
            more = transport.auth_publickey(target.user, key)
        except paramiko.BadAuthenticationType as error:
            raise ClusterError(reasons.other_ways(target.user, error.allowed_types)) from None
        except paramiko.AuthenticationException:
            if transport.is_active():
                return False
            raise ClusterError(reasons.hung_up_on_keys(target.user, tried, self._limit)) from None
        except (paramiko.SSHException, OSError, EOFError):
            raise ClusterError(reasons.hung_up_on_keys(target.user, tried, self._limit)) from None
        if more:
            raise ClusterError(reasons.other_ways(target.user, more))
        return True

    def _socket(self, route: tuple[Target, ...]) -> tuple[Any, bool]:
        """The way to the host, and whether it is a TCP connection of its own."""
        target = route[-1]
        if len(route) > 1:
            return self._through(route), False
        if target.proxy_command:
            return self._proxy(target), False
        try:
            sock = _dial(target, self._limit)
        except (OSError, UnicodeError) as error:
            raise ClusterError(reasons.unreachable(error, target, self._limit)) from None
        # paramiko leaves Nagle's algorithm on: 40 ms for each exec on an open connection.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock, True

    def _proxy(self, target: Target) -> socket.socket:
        """A ProxyCommand whose two ends are one socket; it is ended with the job."""
        ours, command = start_proxy(target.proxy_command)
        with self._lock:
            self._proxies[ours] = command
        return ours

    def _through(self, route: tuple[Target, ...]) -> paramiko.Channel:
        """A channel to the last host of a route through the one before it."""
        jump, target = route[-2], route[-1]
        try:
            login = self._jump(route[:-1])
        except ClusterError as error:
            raise ClusterError(reasons.jump(jump.hostname, error)) from None
        try:
            return login.transport.open_channel(
                "direct-tcpip",
                (target.hostname, target.port),
                ("127.0.0.1", 0),
                timeout=self._limit,
            )
        except (paramiko.SSHException, OSError, EOFError) as error:
            why = error.args[-1] if error.args else error
            raise ClusterError(reasons.unreachable_through(jump.hostname, why)) from None

    def _jump(self, route: tuple[Target, ...]) -> Login:
        """The one login to a jump host; whoever comes first makes it, outside of the lock."""
        with self._lock:
            login = self._jumps.get(route)
            first = login is None
            if login is None:
                login = self._jumps[route] = Future()
        if first:
            try:
                login.set_result(self._connect(route))
            except BaseException as error:
                login.set_exception(error)
        return login.result()


def _dial(target: Target, limit: float) -> socket.socket:
    """Connected to the first of the host's addresses that answers."""
    race = Race([target.hostname], target.port, target.family)
    connection = race.run(limit)
    if connection is None:
        raise next(iter(race.problems.values()), TimeoutError())
    return connection
