"""Whether a host's key is the one that known_hosts files have, decided as OpenSSH decides it.

See sshd(8), SSH_KNOWN_HOSTS FILE FORMAT, and hostfile.c and sshconnect.c of OpenSSH. Where a line
is not understood it is passed over, as there.
"""

from __future__ import annotations

import base64
import binascii
import enum
import hmac
import os
import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from madrun.backends.ssh.host_certificate import Certificate
from madrun.backends.ssh.patterns import list_matches

_HASHED = "|1|"
_SALT_SIZE = 20  # bytes, SHA-1's own
_UNWRITABLE = frozenset("@?*#[]|'\"\\, \t\n")  # a name with one of these is not recorded


class Marker(enum.Enum):
    """What a line says of its key."""

    KEY = ""
    AUTHORITY = "@cert-authority"
    REVOKED = "@revoked"


class Entry(NamedTuple):
    """One key that files have for a host; ``where`` is file and line."""

    marker: Marker
    key: bytes
    where: str


class Status(enum.Enum):
    """What the files say of the key that a host has shown."""

    OK = "known"
    NEW = "unknown"
    CHANGED = "changed"
    REVOKED = "revoked"


class Verdict(NamedTuple):
    """A status, and the file and line that it rests on."""

    status: Status
    where: str = ""


class ShownKey(NamedTuple):
    """What a host has shown: its public key, and the certificate that came with it, if any."""

    plain: bytes
    certificate: Certificate | None = None


class HostName(NamedTuple):
    """A host as files name it. ``alias`` (HostKeyAlias) stands for name and port."""

    name: str
    port: int = 22
    alias: str = ""

    @property
    def written(self) -> str:
        """The name in a file.

        >>> HostName("a").written, HostName("a", 2222).written, HostName("a", 2222, "b").written
        ('a', '[a]:2222', 'b')
        """
        if self.alias:
            return self.alias
        return self.name if self.port == 22 else f"[{self.name}]:{self.port}"


class _Line(NamedTuple):
    hosts: str
    entry: Entry


class KnownHosts:
    """The known_hosts files of one login; one that is missing is as good as empty."""

    def __init__(self, files: Sequence[str]) -> None:
        lines = [line for path in files for line in read_lines(path)]
        self._by_name: dict[str, list[Entry]] = {}
        self._others: list[_Line] = []
        for line in lines:
            # Most lines are plain names: looked up, and not compared with each host.
            if set("*?!|") & set(line.hosts):
                self._others.append(line)
                continue
            for name in line.hosts.lower().split(","):
                self._by_name.setdefault(name, []).append(line.entry)

    def entries(self, name: str) -> list[Entry]:
        """All keys that the files have under this name."""
        found = self._by_name.get(name.lower(), [])
        return found + [line.entry for line in self._others if _is_for(line.hosts, name)]

    def check(self, host: HostName, shown: ShownKey, now: float) -> Verdict:
        """What the files say of the key of a host."""
        entries = self.entries(host.written)
        plain = ShownKey(shown.plain)
        verdict = Verdict(Status.NEW)
        for each in (shown, plain) if shown.certificate else (plain,):
            verdict = _look_up(entries, each)
            if verdict.status is Status.REVOKED or self._is_let_in(verdict, each, host, now):
                return verdict
            if verdict.status is Status.NEW and not host.alias and host.port != 22:
                # As OpenSSH: a key that is known without a port is known with one.
                same = self.check(HostName(host.name), each, now)
                if same.status is Status.OK:
                    return same
        return verdict

    @staticmethod
    def _is_let_in(verdict: Verdict, shown: ShownKey, host: HostName, now: float) -> bool:
        if verdict.status is not Status.OK or shown.certificate is None:
            return verdict.status is Status.OK
        return not shown.certificate.problem(host.alias or host.name, now)

    def key_types(self, host: HostName) -> tuple[set[str], bool]:
        """The types of key that are known for a host, and whether an authority is."""
        entries = self.entries(host.written)
        types = {type_of(entry.key) for entry in entries if entry.marker is Marker.KEY}
        return types, any(entry.marker is Marker.AUTHORITY for entry in entries)


def read_lines(path: str) -> Iterator[_Line]:
    """The lines of a file that are understood."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            text = file.read()
    except OSError:
        return
    for number, line in enumerate(text.split("\n"), 1):
        parsed = _parse_line(line.strip(" \t\r"), f"{path}:{number}")
        if parsed is not None:
            yield parsed


def type_of(key: bytes) -> str:
    """The type that is written in a public key; empty where there is none."""
    if len(key) < 4:
        return ""
    (size,) = struct.unpack_from("!I", key)
    return key[4 : 4 + size].decode("ascii", "replace")


def record(path: str, names: Iterable[str], key: bytes, hashed: bool) -> None:
    """Write a new host's key down, as OpenSSH does; raises OSError.

    Raises ValueError for a name that cannot stand in such a file.
    """
    folder = os.path.dirname(path)
    os.makedirs(folder, mode=0o700, exist_ok=True)
    text = f" {type_of(key)} {base64.b64encode(key).decode()}\n"
    lower = [name.lower() for name in names]
    lines = [hashed_name(name) + text for name in lower] if hashed else [",".join(lower) + text]
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "r+b") as file:
        size = file.seek(0, os.SEEK_END)
        if size:
            file.seek(size - 1)
            if file.read(1) != b"\n":
                lines.insert(0, "\n")
        file.write("".join(lines).encode())


def is_writable(name: str) -> bool:
    """Whether a host of this name can be written down."""
    return bool(name) and not _UNWRITABLE & set(name)


def hashed_name(name: str, salt: bytes = b"") -> str:
    """A name as ``HashKnownHosts`` writes it.

    >>> hashed_name("node01", bytes(20))
    '|1|AAAAAAAAAAAAAAAAAAAAAAAAAAA=|R36UIUkTLawDIRdhkmPkATkIKQw='
    """
    salt = salt or os.urandom(_SALT_SIZE)
    digest = hmac.digest(salt, name.encode(), "sha1")
    return _HASHED + "|".join(base64.b64encode(part).decode() for part in (salt, digest))


def _parse_line(line: str, where: str) -> _Line | None:
    if not line or line.startswith("#"):
        return None
    marker = Marker.KEY
    if line.startswith("@"):
        word, _, line = _cut(line)
        if word not in (Marker.AUTHORITY.value, Marker.REVOKED.value):
            return None
        marker = Marker(word)
    hosts, _, rest = _cut(line)
    key_type, _, rest = _cut(rest)
    text, _, _ = _cut(rest)
    try:
        key = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    if not key_type or type_of(key) != key_type:
        return None
    return _Line(hosts, Entry(marker, key, where))


def _cut(text: str) -> tuple[str, str, str]:
    word, blank, rest = text.replace("\t", " ").partition(" ")
    return word, blank, rest.lstrip(" ")


def _is_for(hosts: str, name: str) -> bool:
    if not hosts.startswith(_HASHED):
        return not hosts.startswith("|") and list_matches(name, hosts)
    salt, _, digest = hosts[len(_HASHED) :].partition("|")
    try:
        expected = hmac.digest(base64.b64decode(salt, validate=True), name.encode(), "sha1")
        return hmac.compare_digest(base64.b64decode(digest, validate=True), expected)
    except (binascii.Error, ValueError):
        return False


def _look_up(entries: Iterable[Entry], shown: ShownKey) -> Verdict:
    authority = shown.certificate.authority if shown.certificate else None
    wanted, other = (Marker.AUTHORITY, Status.NEW) if authority else (Marker.KEY, Status.CHANGED)
    verdict = Verdict(Status.NEW)
    for entry in entries:
        if entry.marker is Marker.REVOKED and entry.key in (shown.plain, authority):
            return Verdict(Status.REVOKED, entry.where)
        if entry.marker is wanted and verdict.status is not Status.OK:
            same = entry.key == (authority or shown.plain)
            verdict = Verdict(Status.OK if same else other, entry.where)
    return verdict
