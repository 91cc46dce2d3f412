"""The hostfile: one host a line, ``node[01-16] slots=8``, in rank order."""

from __future__ import annotations

import re
from typing import NamedTuple

from madrun.hosts import hostlist
from madrun.hosts.world import ALL
from madrun.system.errors import InputError

MAX_SLOTS = 4096
# Of all hosts together: a hostile file of 65536 full hosts would fill the memory.
MAX_WORKERS = 2**20
MAX_BYTES = 4 * 2**20
MAX_LINE = 65536

# Whitelists, and anchored: a name that starts with "-" would be an option to ssh.
_USER = r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,63}"
_LOGIN = r"\w[\w.+@\\-]{0,254}\$?"
_NAME = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,253}"
_ZONE = r"[A-Za-z0-9_.-]{1,32}"
_INLINE = r"([^:]+):([0-9]{1,9})"
_NUMBER = r"[0-9]{1,9}"
_KEYS = ("slots", "devices", "port", "max_slots", "max-slots")


class Host(NamedTuple):
    """One machine of the hostfile; its name, as written there, is its identity.

    >>> host = Host("alice@fd00::1", (0, 1), 2222)
    >>> host.user, host.address
    ('alice', 'fd00::1')
    """

    name: str
    devices: tuple[int, ...]
    port: int | None = None

    @property
    def user(self) -> str | None:
        """Whom to log in as, or None where the name does not say."""
        user, at, _ = self.name.rpartition("@")
        return user if at else None

    @property
    def address(self) -> str:
        """The name without the user: what a resolver or ssh takes."""
        return self.name.rpartition("@")[2]


def parse_hostfile(text: str, source: str) -> tuple[Host, ...]:
    """The hosts of a hostfile in its order.

    Raises InputError for the first line that is not ``host``, ``host slots=N`` or ``host
    devices=0,2,5`` (with ``port=P`` and ``max_slots=N`` where wanted), saying file, line, what was
    read and why. A host without slots has all that are there.

    >>> parse_hostfile("node[1-2] slots=2  # rack 7", "hosts.txt")[1]
    Host(name='node2', devices=(0, 1), port=None)
    >>> parse_hostfile("w0 slots=0", "hosts.txt")
    Traceback (most recent call last):
    madrun.system.errors.InputError: hosts.txt:1: 'w0 slots=0': slots must be a whole number of at \
least 1 and at most 4096
    """
    pool = _Pool()
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), 1):
        content = line.split("#", 1)[0].strip(" \t\r")
        if not content:
            continue
        try:
            pool.add(_line_hosts(content), f"in line {number}")
        except InputError as error:
            raise InputError(f"{source}:{number}: {_shown(content)}: {error}") from None
    if not pool.hosts:
        raise InputError(f"{source}: there is no host in it; a line reads: node01 slots=8")
    return tuple(pool.hosts)


def parse_hosts(text: str) -> tuple[Host, ...]:
    """The hosts of an inline list, ``name[:slots],...``; a bare name has all that are there.

    >>> [(host.name, len(host.devices)) for host in parse_hosts("node[01-02]:8,[fd00::1]:4")]
    [('node01', 8), ('node02', 8), ('fd00::1', 4)]
    """
    if len(text) > MAX_LINE * 16:
        raise InputError("--hosts: the list is too long")
    pool = _Pool()
    for item in hostlist.split(text, ","):
        try:
            pool.add(_inline_hosts(item.strip()), "further left")
        except InputError as error:
            raise InputError(f"--hosts: {_shown(item)}: {error}") from None
    return tuple(pool.hosts)


def read_hostfile(path: str) -> tuple[Host, ...]:
    """The hosts of a file; raises InputError where it cannot be read, naming the path."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
            text = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        hint = f" (a list of hosts is --hosts {path})" if _is_list(path) else ""
        raise InputError(f"hostfile {path}: {reason}{hint}") from None
    if len(text) > MAX_BYTES:
        raise InputError(f"hostfile {path}: larger than {MAX_BYTES >> 20} MiB; is it a hostfile?")
    return parse_hostfile(text, path)


def _is_list(path: str) -> bool:
    """Whether this looks as mpirun's -H has it: no path, and a slot count or a comma."""
    return "/" not in path and not {":", ",", "["}.isdisjoint(path)


def checked_user(text: str) -> str:
    """A name to log in by; raises InputError for what no system has as one.

    >>> checked_user("alice.b"), checked_user("DOM\\\\alice@example.org")
    ('alice.b', 'DOM\\\\alice@example.org')
    """
    if not re.fullmatch(_LOGIN, text):
        raise InputError(
            f"{_shown(text)} is not a user name: letters, digits and . _ + - @ \\ only, and not"
            " - first"
        )
    return text


def checked_name(text: str) -> str:
    """The name of one host, an IPv6 address without its brackets; raises InputError for others.

    >>> checked_name("alice@[fd00::1]"), checked_name("node01.example.org")
    ('alice@fd00::1', 'node01.example.org')
    """
    user, at, address = text.rpartition("@")
    if at and not re.fullmatch(_USER, user):
        raise InputError(f"{_shown(user)} is not a user name")
    bracketed = address.startswith("[") and address.endswith("]")
    bare = address[1:-1] if bracketed else address
    if not (_is_ipv6(bare) if bracketed or ":" in bare else re.fullmatch(_NAME, bare)):
        raise InputError(
            f"{_shown(address)} is not a host name; allowed are names of letters, digits and . _ -,"
            " IPv4 and IPv6 addresses, with user@ before where wanted"
        )
    return user + at + bare


class _Pool:
    """The hosts so far, each once, within the bounds of one job."""

    def __init__(self) -> None:
        self.hosts: list[Host] = []
        self._where: dict[str, str] = {}
        self._workers = 0

    def add(self, hosts: list[Host], where: str) -> None:
        for host in hosts:
            if host.name in self._where:
                raise InputError(f"host {host.name} is named already {self._where[host.name]}")
            self._where[host.name] = where
            self._workers += len(host.devices)
        self.hosts += hosts
        if len(self.hosts) > hostlist.MAX_HOSTS or self._workers > MAX_WORKERS:
            raise InputError(
                f"more than {hostlist.MAX_HOSTS} hosts or {MAX_WORKERS} slots in one job"
            )


def _line_hosts(content: str) -> list[Host]:
    if len(content) > MAX_LINE:
        raise InputError(f"the line is longer than {MAX_LINE} characters")
    name, *words = re.split("[ \t]+", content)
    short = re.fullmatch(_INLINE, name)
    if short and not words:
        raise InputError(f"in a hostfile that reads: {short[1]} slots={short[2]}")
    names = _names(name)
    settings = _settings(words)
    devices = _devices(settings)
    if "port" in settings:
        port = _number(settings, "port", 65535)
        return [Host(each, devices, port) for each in names]
    return [Host(each, devices) for each in names]


def _names(text: str) -> list[str]:
    return [checked_name(name) for name in hostlist.expand(text)]


def _settings(words: list[str]) -> dict[str, str]:
    settings: dict[str, str] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            raise InputError(
                f"{_shown(word)} is not key=value, without blanks; a line reads: node01 slots=8"
            )
        if key not in _KEYS:
            raise InputError(f"unknown key {_shown(key)}; known are slots, devices, port")
        if key in settings:
            raise InputError(f"{key} is given twice")
        settings[key] = value
    return settings


def _devices(settings: dict[str, str]) -> tuple[int, ...]:
    for limit in ("max_slots", "max-slots"):
        # Open MPI's word for oversubscription: nothing of ours, but not junk.
        if limit in settings:
            _number(settings, limit, 10**9)
    slots = _number(settings, "slots", MAX_SLOTS) if "slots" in settings else None
    if "devices" not in settings:
        return ALL if slots is None else tuple(range(slots))
    devices = _device_list(settings["devices"])
    if slots not in (None, len(devices)):
        raise InputError(f"slots={slots}, but devices names {len(devices)}")
    return devices


def _device_list(text: str) -> tuple[int, ...]:
    devices: dict[int, None] = {}
    for item in text.split(","):
        low, dash, high = item.partition("-")
        ends = (low, high if dash else low)
        if not all(re.fullmatch(_NUMBER, end) and int(end) < MAX_SLOTS for end in ends):
            raise InputError(
                f"devices must be numbers below {MAX_SLOTS} or ranges, as in devices=0-3,6"
            )
        if int(ends[1]) < int(ends[0]):
            raise InputError(f"the range {item} of devices runs backwards")
        for device in range(int(ends[0]), int(ends[1]) + 1):
            if device in devices:
                raise InputError(f"device {device} is named twice")
            devices[device] = None
    return tuple(devices)


def _inline_hosts(item: str) -> list[Host]:
    name, *counts = hostlist.split(item, ":")
    if len(counts) > 1:
        raise InputError("more than one colon; an IPv6 address reads like [fd00::1]:8")
    slots = _number({"slots": counts[0]}, "slots", MAX_SLOTS) if counts else None
    devices = ALL if slots is None else tuple(range(slots))
    return [Host(each, devices) for each in _names(name)]


def _number(settings: dict[str, str], key: str, highest: int) -> int:
    text = settings[key]
    if not re.fullmatch(_NUMBER, text) or not 1 <= int(text) <= highest:
        raise InputError(f"{key} must be a whole number of at least 1 and at most {highest}")
    return int(text)


def _is_ipv6(text: str) -> bool:
    # Imported here: a hostfile without IPv6 starts without it.
    import socket

    address, percent, zone = text.partition("%")
    if percent and not re.fullmatch(_ZONE, zone):
        return False
    try:
        socket.inet_pton(socket.AF_INET6, address)
    except (OSError, ValueError):
        return False
    return True


def _shown(text: str) -> str:
    """The text on one line, however hostile, and not more of it than a reader needs."""
    return repr(text if len(text) <= 100 else text[:97] + "...")
