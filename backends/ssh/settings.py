"""Where and as whom to log in, as the user's ssh would: what ``ssh -G`` says, made a value."""

from __future__ import annotations

import os
import pwd
import re
import socket
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from madrun.system.errors import ClusterError

# What ssh has where no file says anything.
DEFAULTS: Mapping[str, tuple[str, ...]] = {
    "port": ("22",),
    "identityfile": tuple(
        f"~/.ssh/id_{kind}" for kind in ("rsa", "ecdsa", "ecdsa_sk", "ed25519", "ed25519_sk")
    ),
    "userknownhostsfile": ("~/.ssh/known_hosts ~/.ssh/known_hosts2",),
    "globalknownhostsfile": ("/etc/ssh/ssh_known_hosts /etc/ssh/ssh_known_hosts2",),
}
_YES = ("yes", "true")
_TOKEN = re.compile(r"%(.?)|\$\{([^}]*)\}")
# A jump host: [user@]host[:port], as ProxyJump has it.
_HOP = re.compile(r"(?:ssh://)?(?:(.+)@)?(\[[^\]]+\]|[^:@]+)(?::([0-9]+))?/?")
# What ssh refuses in names that become part of a shell's line.
_UNSAFE = re.compile(r"[\s\"'`$\\;&<>|(){}]|^-")

Settings = Mapping[str, Sequence[str]]


class Asked(NamedTuple):
    """What the hostfile and the command line say of a host; empty and None say nothing."""

    user: str = ""
    port: int | None = None
    key: str = ""
    accept_new: bool = False


class Target(NamedTuple):
    """A host to log in to."""

    hostname: str
    port: int
    user: str
    keys: tuple[str, ...] = ()
    only_these_keys: bool = False
    agent: str = "SSH_AUTH_SOCK"
    proxy_jump: str = ""
    proxy_command: str = ""
    accept_new: bool = False
    user_known_hosts: tuple[str, ...] = ()
    system_known_hosts: tuple[str, ...] = ()
    known_as: str = ""
    check_address: bool = False
    hash_names: bool = False
    key_algorithms: tuple[str, ...] = ()
    family: int = 0


def parse_settings(text: str) -> dict[str, list[str]]:
    """What ``ssh -G`` prints: keywords, each with its values in their order.

    >>> parse_settings("user root\\nidentityfile ~/a b\\nidentityfile ~/c\\nforwardx11\\n")
    {'user': ['root'], 'identityfile': ['~/a b', '~/c'], 'forwardx11': ['']}
    """
    settings: dict[str, list[str]] = {}
    for line in text.splitlines():
        keyword, _, value = line.partition(" ")
        settings.setdefault(keyword, []).append(value)
    return settings


def target_of(name: str, asked: Asked, settings: Settings) -> Target:
    """The host to log in to; raises ClusterError for what ssh would do and we cannot."""
    _refuse_unsupported(settings)

    def last(keyword: str, default: str = "") -> str:
        values = settings.get(keyword) or DEFAULTS.get(keyword) or (default,)
        return values[0]

    hostname, port = last("hostname", name.lower()), str(asked.port or last("port"))
    user = asked.user or last("user", pwd.getpwuid(os.getuid()).pw_name)
    tokens = {
        "%": "%", "d": home(), "h": hostname, "i": str(os.getuid()), "n": name, "p": port,
        "k": last("hostkeyalias") or name, "L": socket.gethostname().partition(".")[0],
        "l": socket.gethostname(), "r": user, "u": pwd.getpwuid(os.getuid()).pw_name,
    }  # fmt: skip
    command, jump = _none_is_empty(last("proxycommand")), _none_is_empty(last("proxyjump"))
    files = settings.get("identityfile") or DEFAULTS["identityfile"]
    keys = [asked.key] if asked.key else [expand(key, tokens) for key in files if key != "none"]
    if command and not jump:
        _check_safe(hostname, user)
        command = expand(command, {key: tokens[key] for key in "%hnpr"}, environment=False)
    return Target(
        hostname=hostname,
        port=_port(port),
        user=user,
        keys=tuple(key for key in map(_tilde, keys) if os.path.isfile(key)),
        only_these_keys=last("identitiesonly") in _YES,
        agent=_tilde(last("identityagent", "SSH_AUTH_SOCK")),
        proxy_jump=jump,
        proxy_command="" if jump else command,
        accept_new=asked.accept_new
        or last("stricthostkeychecking") in ("no", "off", "false", "accept-new"),
        user_known_hosts=_files(last("userknownhostsfile")),
        system_known_hosts=_files(last("globalknownhostsfile")),
        known_as=last("hostkeyalias").lower(),
        check_address=last("checkhostip") in _YES,
        hash_names=last("hashknownhosts") in _YES,
        key_algorithms=tuple(filter(None, last("hostkeyalgorithms").split(","))),
        family={"inet": socket.AF_INET, "inet6": socket.AF_INET6}.get(last("addressfamily"), 0),
    )


def jump_hosts(chain: str) -> list[tuple[str, Asked]]:
    """The hosts of a ``ProxyJump``, first to last; raises ClusterError.

    >>> [(name, asked.user, asked.port) for name, asked in jump_hosts("al@one:2200,[fd00::1]")]
    [('one', 'al', 2200), ('fd00::1', '', None)]
    """
    hops = []
    for text in chain.split(","):
        found = _HOP.fullmatch(text.strip())
        if found is None:
            raise ClusterError(f"ssh_config: ProxyJump {chain!r}: {text!r} is no host")
        port = _port(found[3]) if found[3] else None
        hops.append((found[2].strip("[]"), Asked(found[1] or "", port)))
    return hops


def expand(text: str, tokens: Mapping[str, str], environment: bool = True) -> str:
    """A value with its tokens and environment variables filled in; raises ClusterError.

    >>> expand("~/.ssh/%r@%h%%", {"%": "%", "r": "al", "h": "node01"})
    '~/.ssh/al@node01%'
    """

    def value(found: re.Match[str]) -> str:
        if found[2] is not None:
            if not environment:
                return found[0]
            if found[2] not in os.environ:
                raise ClusterError(f"ssh_config: {text!r}: {found[2]} is not set")
            return os.environ[found[2]]
        if found[1] not in tokens:
            raise ClusterError(f"ssh_config: {text!r}: {found[0]} is not understood here")
        return tokens[found[1]]

    return _TOKEN.sub(value, text)


def home() -> str:
    """The user's home folder as ssh sees it: HOME does not count."""
    return pwd.getpwuid(os.getuid()).pw_dir


def _refuse_unsupported(settings: Settings) -> None:
    """What could keep a host out, and is not looked at here."""
    for keyword in ("knownhostscommand", "revokedhostkeys"):
        value = settings.get(keyword, ["none"])[0]
        if value and value.lower() != "none":
            raise ClusterError(
                f"ssh_config: {keyword} {value} is not supported; --backend pdsh uses ssh itself"
            )


def _none_is_empty(value: str) -> str:
    return "" if value.lower() == "none" else value


def _files(value: str) -> tuple[str, ...]:
    """The files of a list in which blanks are not marked: each begins with a folder.

    >>> _files("/a b /c"), _files("none")
    (('/a b', '/c'), ())
    """
    files = [_tilde(path) for path in re.split(r" (?=[/~])", value) if path.lower() != "none"]
    for path in files:
        if "%" in path or not path.startswith("/"):
            raise ClusterError(f"ssh_config: the known_hosts file {path!r} is not a full path")
    return tuple(files)


def _tilde(path: str) -> str:
    return home() + path[1:] if path.startswith("~/") else os.path.expanduser(path)


def _port(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text[:9]) < 65536:
        raise ClusterError(f"ssh_config: {text!r} is not a port")
    return int(text)


def _check_safe(*names: str) -> None:
    for name in names:
        if _UNSAFE.search(name):
            raise ClusterError(f"ssh_config: {name!r} cannot stand in a ProxyCommand")
