"""Logging in to one host with paramiko, as the user's ssh would, and why it failed if it did."""

from __future__ import annotations

import glob
import io
import logging
import os
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import paramiko

from madrun.hosts.hostfile import Host
from madrun.options.request import Ssh
from madrun.system.errors import ClusterError

logging.getLogger("paramiko").addHandler(logging.NullHandler())
logging.getLogger("paramiko").propagate = False

_INCLUDE_DEPTH = 16  # as in ssh_config(5)
_DROPPED = "the SSH server hangs up before the login, again and again (MaxStartups?)"
_FIRST_PAUSE = 0.2  # seconds, doubled each time
_KEEPALIVE = 15  # seconds; the channel's own heartbeats are what notices a lost host


@dataclass(frozen=True, slots=True)
class Target:
    """Where to log in: command line beats hostfile beats ssh_config beats ssh's defaults."""

    hostname: str
    port: int
    user: str
    keys: tuple[str, ...]
    only_these_keys: bool
    proxy_jump: str
    proxy_command: str
    accept_new: bool
    known_hosts: tuple[str, ...]


class Logins:
    """Logs in to the hosts of one job; a jump host is logged in to once for all of them."""

    def __init__(self, options: Ssh) -> None:
        self._options = options
        self._config = _read_config()
        self._jumps: dict[str, paramiko.SSHClient] = {}
        self._jump_lock = threading.Lock()

    def target(self, name: str, user: str | None, port: int | None) -> Target:
        """What ssh_config and the options say of a host."""
        found: Any = self._config.lookup(name)
        options = self._options
        jump = found.get("proxyjump", "none")
        command = found.get("proxycommand", "none")
        own_files = found.get("userknownhostsfile", "~/.ssh/known_hosts").split()
        system_files = found.get("globalknownhostsfile", "/etc/ssh/ssh_known_hosts").split()
        keys = [options.key] if options.key else found.get("identityfile", [])
        return Target(
            hostname=found.get("hostname", name),
            port=port or options.port or _port(found.get("port", "22"), name),
            user=user or options.user or found.get("user") or _own_user(),
            keys=tuple(key for key in map(os.path.expanduser, keys) if os.path.exists(key)),
            only_these_keys=found.get("identitiesonly", "no") == "yes",
            proxy_jump="" if jump == "none" else jump,
            proxy_command="" if command == "none" else command,
            accept_new=options.accept_new
            or found.get("stricthostkeychecking", "").lower() in ("no", "off", "accept-new"),
            known_hosts=tuple(map(os.path.expanduser, [*system_files, *own_files])),
        )

    def log_in(
        self, host: Host, connected: Callable[[], None] = lambda: None
    ) -> paramiko.SSHClient:
        """A logged-in client; raises ClusterError. ``connected()`` is called half way."""
        return self._connect(self.target(host.address, host.user, host.port), connected)

    @property
    def jumped(self) -> bool:
        """True where any host was reached through another one."""
        return bool(self._jumps)

    def close(self) -> None:
        """Let go of the jump hosts."""
        for client in self._jumps.values():
            client.close()

    def _connect(
        self, target: Target, connected: Callable[[], None] = lambda: None
    ) -> paramiko.SSHClient:
        """Connect; an sshd that is busy (MaxStartups) drops some, who try again a little later."""
        limit = self._options.connect_timeout
        deadline = time.monotonic() + limit
        pause = _FIRST_PAUSE
        while True:
            begun = time.monotonic()
            try:
                return self._connect_once(target, connected)
            except (paramiko.SSHException, OSError, EOFError) as error:
                # A banner that fails to come before its time is up: the server hung up.
                dropped = "banner" in str(error) and time.monotonic() - begun < limit * 0.9
                if not dropped or time.monotonic() + pause > deadline:
                    reason = _DROPPED if dropped else _reason(error, target, limit)
                    raise ClusterError(reason) from None
            time.sleep(pause * random.uniform(0.5, 1.0))  # so that they do not all come again
            pause *= 2

    def _connect_once(self, target: Target, connected: Callable[[], None]) -> paramiko.SSHClient:
        sock = self._socket(target)
        connected()
        client = paramiko.SSHClient()
        for file in target.known_hosts:
            if os.path.exists(file):
                client.load_system_host_keys(file)
        client.set_missing_host_key_policy(
            _AcceptNew(target.known_hosts[-1]) if target.accept_new else _RefuseUnknown()
        )
        limit = self._options.connect_timeout
        try:
            client.connect(
                target.hostname,
                port=target.port,
                username=target.user,
                key_filename=list(target.keys) or None,  # type: ignore[arg-type]  # a list is fine
                sock=sock,
                allow_agent=not target.only_these_keys,
                look_for_keys=not target.only_these_keys,
                timeout=limit,
                banner_timeout=limit,
                auth_timeout=limit,
            )
        except BaseException:
            client.close()
            raise
        transport = client.get_transport()
        assert transport is not None
        transport.set_keepalive(_KEEPALIVE)
        return client

    def _socket(self, target: Target) -> Any:
        if target.proxy_jump:
            return self._through(target)
        if target.proxy_command:
            try:
                return paramiko.ProxyCommand(target.proxy_command)
            except (OSError, ValueError) as error:
                raise ClusterError(f"ProxyCommand {target.proxy_command!r}: {error}") from None
        limit = self._options.connect_timeout
        try:
            sock = socket.create_connection((target.hostname, target.port), timeout=limit)
        except (OSError, UnicodeError) as error:
            raise ClusterError(_unreachable(error, target, limit)) from None
        # paramiko leaves Nagle's algorithm on: 40 ms for each exec on an open connection.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock

    def _through(self, target: Target) -> Any:
        """A channel to the target through its jump hosts, ``[user@]host[:port],...``."""
        before, _, last = target.proxy_jump.rpartition(",")
        with self._jump_lock:
            client = self._jumps.get(target.proxy_jump)
            if client is None:
                user, _, place = last.rpartition("@")
                name, _, port = place.rpartition(":") if ":" in place else (place, "", "")
                jump = self.target(name, user or None, int(port) if port.isdecimal() else None)
                if before:
                    jump = _with_jump(jump, before)
                try:
                    client = self._connect(jump)
                except ClusterError as error:
                    raise ClusterError(f"jump host {name}: {error}") from None
                self._jumps[target.proxy_jump] = client
        transport = client.get_transport()
        assert transport is not None
        try:
            return transport.open_channel(
                "direct-tcpip",
                (target.hostname, target.port),
                ("127.0.0.1", 0),
                timeout=self._options.connect_timeout,
            )
        except paramiko.SSHException as error:
            why = error.args[-1] if error.args else error
            raise ClusterError(f"unreachable through {target.proxy_jump}: {why}") from None


class _UnknownHostKey(paramiko.SSHException):
    """The server's key is in no known_hosts file."""


class _RefuseUnknown(paramiko.MissingHostKeyPolicy):
    def missing_host_key(self, client: Any, hostname: str, key: paramiko.PKey) -> None:
        raise _UnknownHostKey(f"{key.get_name()} {key.fingerprint}")


class _AcceptNew(paramiko.MissingHostKeyPolicy):
    """Trust on first use; a *changed* key is refused all the same."""

    _lock = threading.Lock()

    def __init__(self, file: str) -> None:
        self._file = file

    def missing_host_key(self, client: Any, hostname: str, key: paramiko.PKey) -> None:
        with self._lock:
            os.makedirs(os.path.dirname(self._file), mode=0o700, exist_ok=True)
            with open(self._file, "a", encoding="utf-8") as file:
                file.write(f"{hostname} {key.get_name()} {key.get_base64()}\n")


def _reason(error: Exception, target: Target, limit: float) -> str:
    """One sentence on why a login failed, with what to do about it."""
    if isinstance(error, paramiko.BadHostKeyException):
        return (
            f"host key changed: it is not the one in {target.known_hosts[-1]} "
            f"(if that is right: ssh-keygen -R '{_known_name(target)}')"
        )
    if isinstance(error, _UnknownHostKey):
        return (
            f"host key unknown ({error}); accept it with "
            f"'ssh -p {target.port} {target.user}@{target.hostname}' once, or with --ssh-accept-new"
        )
    if isinstance(error, paramiko.AuthenticationException | paramiko.PasswordRequiredException):
        return f"authentication refused for user {target.user}: {error}"
    if "No authentication methods" in str(error):
        return f"authentication refused for user {target.user}: no key to offer (--ssh-key)"
    if isinstance(error, OSError):
        return _unreachable(error, target, limit)
    if "banner" in str(error):
        return f"connected to port {target.port}, but no SSH server answers within {limit:g} s"
    return f"no SSH login on port {target.port}: {str(error) or type(error).__name__}"


def _unreachable(error: Exception, target: Target, limit: float) -> str:
    where = f"{target.hostname} port {target.port}"
    if isinstance(error, socket.gaierror | UnicodeError):
        return f"unreachable: the name {target.hostname} cannot be resolved"
    if isinstance(error, TimeoutError):
        return f"unreachable: no answer from {where} within {limit:g} s"
    detail = getattr(error, "strerror", None) or str(error)
    return f"unreachable: {where}: {detail}"


def _known_name(target: Target) -> str:
    """The host's name in a known_hosts file."""
    return target.hostname if target.port == 22 else f"[{target.hostname}]:{target.port}"


def _port(text: str, name: str) -> int:
    if not text.isdecimal() or not 0 < int(text[:9]) < 65536:
        raise ClusterError(f"ssh_config: Port {text!r} of {name} is not a port")
    return int(text)


def _with_jump(target: Target, jump: str) -> Target:
    from dataclasses import replace

    return replace(target, proxy_jump=jump)


def _read_config() -> paramiko.SSHConfig:
    config = paramiko.SSHConfig()
    for path in ("~/.ssh/config", "/etc/ssh/ssh_config"):
        try:
            config.parse(io.StringIO("\n".join(config_lines(os.path.expanduser(path)))))
        except (OSError, paramiko.SSHException, ValueError) as error:
            raise ClusterError(f"{path} cannot be read: {error}") from None
    return config


def config_lines(path: str, depth: int = 0) -> Iterator[str]:
    """The lines of an ssh_config with its Include files in their places, as ssh reads it.

    paramiko knows no Include. What is missing is passed over, as ssh does.
    """
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            lines = file.read().splitlines()
    except FileNotFoundError:
        return
    for line in lines:
        word, _, rest = line.strip().replace("=", " ", 1).partition(" ")
        if word.lower() != "include" or depth >= _INCLUDE_DEPTH:
            yield line
            continue
        for pattern in rest.split():
            place = os.path.join(os.path.dirname(path), os.path.expanduser(pattern.strip('"')))
            for included in sorted(glob.glob(place)):
                yield from config_lines(included, depth + 1)


def _own_user() -> str:
    import pwd

    return pwd.getpwuid(os.getuid()).pw_name
