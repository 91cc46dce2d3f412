"""Host certificates of OpenSSH (PROTOCOL.certkeys): who signed one, and whom it speaks for."""

from __future__ import annotations

import struct
from typing import NamedTuple

import paramiko
from paramiko.pkey import UnknownKeyType

SUFFIX = "-cert-v01@openssh.com"
_HOST_TYPE = 2
# Fields of the public key itself, each with its length before it.
_KEY_FIELDS = {"ssh-ed25519": 1, "ssh-rsa": 2}
_ECDSA_FIELDS = 2
_ECDSA = "ecdsa-sha2-"
# OpenSSH's CASignatureAlgorithms: no SHA-1.
_SIGNATURES = ("ssh-ed25519", "rsa-sha2-256", "rsa-sha2-512")


class Certificate(NamedTuple):
    """A certificate whose signature is right; times in seconds since the epoch."""

    kind: int
    principals: tuple[str, ...]
    valid_after: int
    valid_before: int
    critical: bytes
    authority: bytes

    def problem(self, name: str, now: float) -> str:
        """Why it does not speak for the host of this name; empty where it does."""
        if self.kind != _HOST_TYPE:
            return "not a host certificate"
        if not self.valid_after <= now < self.valid_before:
            return "expired or not yet valid"
        if self.critical:
            return "it has critical options"
        # Newer versions of OpenSSH take wildcards here, older ones any name where there is none.
        if name not in self.principals:
            return f"it names {', '.join(self.principals) or 'no host'}"
        return ""


def parse_certificate(blob: bytes) -> Certificate:
    """The certificate of a host key; raises ValueError where it is damaged or wrongly signed."""
    reader = _Reader(blob)
    key_type = reader.field().decode("ascii").removesuffix(SUFFIX)
    reader.field()  # the nonce
    fields = _ECDSA_FIELDS if key_type.startswith(_ECDSA) else _KEY_FIELDS.get(key_type, 0)
    if not fields:
        raise ValueError(f"a certificate of an unknown type of key: {key_type[:40]!r}")
    for _ in range(fields):
        reader.field()
    _serial, kind = reader.numbers("!QI")
    reader.field()  # the key id, for people
    principals = _Reader(reader.field()).rest_of_fields()
    valid_after, valid_before = reader.numbers("!QQ")
    critical = reader.field()
    reader.field()  # extensions
    reader.field()  # reserved
    authority = reader.field()
    signed = blob[: reader.at]
    _check_signature(authority, signed, reader.field())
    names = tuple(name.decode(errors="replace") for name in principals)
    return Certificate(kind, names, valid_after, valid_before, critical, authority)


def _check_signature(authority: bytes, signed: bytes, signature: bytes) -> None:
    key_type = _Reader(authority).field().decode("ascii")
    algorithm = _Reader(signature).field().decode("ascii")
    if algorithm not in _SIGNATURES and not algorithm.startswith(_ECDSA):
        raise ValueError(f"a certificate signed with {algorithm[:40]!r}")
    try:
        key = paramiko.PKey.from_type_string(key_type, authority)
    except (paramiko.SSHException, UnknownKeyType) as error:
        raise ValueError(f"an authority's key that is not understood: {error}") from None
    if not key.verify_ssh_sig(signed, paramiko.Message(signature)):
        raise ValueError("a certificate whose signature is wrong")


class _Reader:
    """Fields with their length before them (RFC 4251)."""

    def __init__(self, data: bytes) -> None:
        self._data, self.at = data, 0

    def field(self) -> bytes:
        (size,) = self.numbers("!I")
        end = self.at + size
        if end > len(self._data):
            raise ValueError("a truncated certificate")
        field, self.at = self._data[self.at : end], end
        return field

    def numbers(self, layout: str) -> tuple[int, ...]:
        try:
            found: tuple[int, ...] = struct.unpack_from(layout, self._data, self.at)
        except struct.error:
            raise ValueError("a truncated certificate") from None
        self.at += struct.calcsize(layout)
        return found

    def rest_of_fields(self) -> list[bytes]:
        fields = []
        while self.at < len(self._data):
            fields.append(self.field())
        return fields
