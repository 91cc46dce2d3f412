"""Why a login failed, in one sentence with what to do about it; docs/ssh.md lists them all."""

from __future__ import annotations

import socket
from collections.abc import Sequence

import paramiko

from madrun.backends.ssh.settings import Target
from madrun.system.errors import ClusterError

DROPPED = "the SSH server hangs up before the login, again and again (MaxStartups?)"
REFUSED = "authentication refused for user"


class HungUp(ClusterError):
    """The server closed the connection before it had said who it is."""


def no_handshake(
    transport: paramiko.Transport, target: Target, limit: float, late: bool
) -> ClusterError:
    """The SSH connection did not come about: the server hung up, was late, or is no such server."""
    where, error = f"port {target.port}", transport.get_exception()
    if not transport.remote_version:
        if late:
            return ClusterError(
                f"connected to {where}, but no SSH server answers within {limit:g} s"
            )
        return HungUp(DROPPED)
    if late:
        return ClusterError(
            f"connected to {where}, but the SSH handshake is not over within {limit:g} s"
        )
    if isinstance(error, paramiko.SSHException):
        return ClusterError(f"no SSH connection on {where}: {error}")
    return ClusterError(f"no SSH connection on {where}: the server hung up")


def refused(user: str, tried: int, problem: str) -> str:
    """No key was accepted."""
    if problem:
        return f"{REFUSED} {user}: {problem}"
    if not tried:
        return f"{REFUSED} {user}: no key to offer (--ssh-key)"
    keys = "1 key was" if tried == 1 else f"{tried} keys were"
    return f"{REFUSED} {user}: {keys} offered, and none accepted"


def other_ways(user: str, wanted: Sequence[str]) -> str:
    """The server wants more than a key, or something else."""
    return f"{REFUSED} {user}: the server wants {', '.join(wanted)}, and madrun has keys only"


def hung_up_on_keys(user: str, tried: int, limit: float) -> str:
    """The server ended the connection while keys were offered, or said nothing."""
    return (
        f"{REFUSED} {user}: no answer within {limit:g} s, or the server hung up, at key {tried} "
        "(too many keys? --ssh-key names one)"
    )


def jump(name: str, why: Exception) -> str:
    """A jump host cannot be logged in to."""
    return f"jump host {name}: {why}"


def unreachable_through(name: str, why: object) -> str:
    """A jump host does not reach the next one."""
    return f"unreachable through {name}: {why}"


def unreachable(error: Exception, target: Target, limit: float) -> str:
    """No TCP connection."""
    where = f"{target.hostname} port {target.port}"
    if isinstance(error, socket.gaierror | UnicodeError):
        return f"unreachable: the name {target.hostname} cannot be resolved"
    if isinstance(error, TimeoutError):
        return f"unreachable: no answer from {where} within {limit:g} s"
    detail = getattr(error, "strerror", None) or str(error)
    return f"unreachable: {where}: {detail}"
