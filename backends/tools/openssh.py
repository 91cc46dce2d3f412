"""OpenSSH's client as other tools start it: its options, and what it says when it fails."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from madrun.hosts.hostfile import Host
from madrun.options.request import Ssh
from madrun.system.errors import InputError

_ASK_LIMIT = 5.0  # seconds
_QUICK = "curve25519-sha256"


class Failure(NamedTuple):
    """A host that could not be logged in to, and why. ``host`` is as ssh names it."""

    host: str
    reason: str


# What ssh(1) says on stderr; the name is the one that it was given, or an address. The patterns
# are compiled when they are used: this module is loaded at each start.
_FAILURES = (
    (r"ssh: connect to host (\S+) port \d+: (.*)", "unreachable: {}"),
    (
        r"ssh: Could not resolve hostname (\S+?): (.*)",
        "unreachable: the name cannot be resolved: {}",
    ),
    (
        r"(?:\S+@)?(\S+): (Permission denied \(.*\))",
        "authentication refused: {}",
    ),
    (
        r"Connection (?:closed|reset) by (?:\S+ )?(\S+) (port \d+)(?: \[preauth\])?",
        "its sshd closed the connection ({})",
    ),
    (
        r"No \S+ host key is known for (\S+) (and you have requested strict checking)",
        "host key unknown, {}; --ssh-accept-new trusts it on first use",
    ),
    (
        r"Host key for (\S+) (has changed) and you have requested strict checking",
        "host key changed: it {} since it was recorded in known_hosts",
    ),
)


def find_failure(line: str) -> Failure | None:
    """The failure that a line of ssh's tells, or None.

    >>> find_failure("ssh: connect to host node03 port 22: Connection refused")
    Failure(host='node03', reason='unreachable: Connection refused')
    >>> find_failure("Warning: Permanently added 'node03' to the list of known hosts.")
    """
    for pattern, words in _FAILURES:
        match = re.search(pattern, line)
        if match is not None:
            return Failure(match[1].strip("[]'\""), words.format(match[2].strip().rstrip(".")))
    return None


def common_login(hosts: Sequence[Host], ssh: Ssh, tool: str) -> Ssh:
    """The options with the one user and the one port that all hosts have.

    Raises InputError where the hosts differ: such a tool has one set of options for all.
    """
    users = {host.user or ssh.user for host in hosts}
    ports = {host.port or ssh.port for host in hosts}
    for what, values in (("user", users), ("port", ports)):
        if len(values) > 1:
            named = ", ".join(sorted(str(value) for value in values if value))
            raise InputError(
                f"--backend {tool}: one {what} for all hosts is wanted, not {named} for some; "
                "--backend ssh takes each host's own, and so does ssh_config"
            )
    if re.search(r"\s", ssh.key):
        raise InputError(f"--ssh-key {ssh.key!r}: --backend {tool} takes no blanks in this path")
    return ssh._replace(user=users.pop(), port=ports.pop())


def asked_words(ssh: Ssh) -> list[str]:
    """ssh's words for what the user asked of madrun; first on a line, for the first counts."""
    words = ["-l", ssh.user] if ssh.user else []
    words += ["-p", str(ssh.port)] if ssh.port else []
    words += ["-i", ssh.key] if ssh.key else []
    return words + (["-o", "StrictHostKeyChecking=accept-new"] if ssh.accept_new else [])


def default_words(ssh: Ssh) -> list[str]:
    """ssh's words for what madrun wants where nobody said otherwise; last on a line."""
    return ["-o", "BatchMode=yes", "-o", f"ConnectTimeout={math.ceil(ssh.connect_timeout)}"]


def quick_key_exchange(words: Sequence[str], host: str, environ: Mapping[str, str]) -> str:
    """The key exchanges that ssh would offer this host, the quick one first.

    OpenSSH's default since 9.0 takes some 75 ms of CPU in every client, which is what a start on
    many hosts waits for. Empty where ssh cannot be asked, or has no quick one: a site's own
    choice is only ever put into another order.
    """
    import subprocess

    try:
        done = subprocess.run(
            ["ssh", "-G", *words, host],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_ASK_LIMIT,
            check=True,
            env=dict(environ),
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return quick_first(done.stdout.decode(errors="replace"))


def quick_first(settings: str) -> str:
    """The key exchanges of what ``ssh -G`` prints, reordered.

    >>> quick_first("user root\\nkexalgorithms sntrup761x25519-sha512,curve25519-sha256,ecdh\\n")
    'curve25519-sha256,sntrup761x25519-sha512,ecdh'
    """
    for line in settings.splitlines():
        name, _, value = line.partition(" ")
        if name == "kexalgorithms":
            offered = value.strip().split(",")
            if _QUICK not in offered:
                return ""
            return ",".join([_QUICK, *(each for each in offered if each != _QUICK)])
    return ""
