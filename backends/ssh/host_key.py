"""Whether the host that answers is the one that is meant."""

from __future__ import annotations

import base64
import hashlib
import threading
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from madrun.backends.ssh.host_certificate import SUFFIX, parse_certificate
from madrun.backends.ssh.known_hosts import (
    HostName,
    KnownHosts,
    ShownKey,
    Status,
    is_writable,
    record,
    type_of,
)
from madrun.backends.ssh.settings import Target
from madrun.system.errors import ClusterError

if TYPE_CHECKING:
    import paramiko


class HostKeys:
    """Checks the keys of one job's hosts; may be used from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._files: dict[tuple[str, ...], KnownHosts] = {}

    def prefer(self, transport: paramiko.Transport, target: Target) -> None:
        """Ask the host for a key of a type that is known, as ssh does."""
        known, authority = self._known(target).key_types(_name(target))
        options = transport.get_security_options()
        ours = [*(each + SUFFIX for each in options.key_types), *options.key_types]
        offered = [each for each in target.key_algorithms if each in ours] or ours
        if _type(offered[0]) not in known:
            preferred = [
                each
                for each in offered
                if _type(each) in known or (authority and each.endswith(SUFFIX))
            ]
            offered = preferred + [each for each in offered if each not in preferred]
        options.key_types = tuple(offered)

    def check(self, transport: paramiko.Transport, target: Target, address: str) -> None:
        """Raises ClusterError for a key that ssh would not accept without a question.

        ``address`` is the host's, where it was connected to directly.
        """
        shown = _shown_key(transport.get_remote_server_key())
        # One at a time: a key that is accepted here is known to the next one.
        with self._lock:
            self._check(shown, target, address)

    def _check(self, shown: ShownKey, target: Target, address: str) -> None:
        known, name, now = self._known(target, locked=True), _name(target), time.time()
        verdict = known.check(name, shown, now)
        fingerprint = _fingerprint(shown.plain)
        if verdict.status in (Status.CHANGED, Status.REVOKED):
            raise ClusterError(_refusal(verdict.status, verdict.where, name))
        names = [name.written]
        by_number = target.check_address and address not in ("", target.hostname)
        if by_number and shown.certificate is None:
            number = HostName(address, target.port)
            of_address = known.check(number, ShownKey(shown.plain), now)
            if of_address.status in (Status.CHANGED, Status.REVOKED):
                raise ClusterError(_refusal(of_address.status, of_address.where, number))
            names.append(number.written)
        if verdict.status is Status.OK:
            return
        if not target.accept_new:
            raise ClusterError(
                f"host key unknown ({fingerprint}); accept it with "
                f"'ssh -p {target.port} {target.user}@{target.hostname}' once, "
                "or with --ssh-accept-new"
            )
        self._accept(shown, target, names)

    def _accept(self, shown: ShownKey, target: Target, names: Iterable[str]) -> None:
        if not target.user_known_hosts or not is_writable(target.known_as or target.hostname):
            raise ClusterError("host key unknown, and there is no file to write it to")
        path = target.user_known_hosts[0]
        try:
            record(path, names, shown.plain, target.hash_names)
        except OSError as error:
            raise ClusterError(f"host key unknown, and {path}: {error.strerror}") from None
        self._files.clear()

    def _known(self, target: Target, locked: bool = False) -> KnownHosts:
        if not locked:
            with self._lock:
                return self._known(target, locked=True)
        files = (*target.user_known_hosts, *target.system_known_hosts)
        if files not in self._files:
            self._files[files] = KnownHosts(files)
        return self._files[files]


def _name(target: Target) -> HostName:
    return HostName(target.hostname, target.port, target.known_as)


def _type(algorithm: str) -> str:
    """The type of the public key that an algorithm is for."""
    plain = algorithm.removesuffix(SUFFIX)
    return "ssh-rsa" if plain.startswith("rsa-sha2-") else plain


def _shown_key(key: paramiko.PKey) -> ShownKey:
    if key.public_blob is None:
        return ShownKey(key.asbytes())
    try:
        return ShownKey(key.asbytes(), parse_certificate(key.public_blob.key_blob))
    except (ValueError, UnicodeDecodeError) as error:
        raise ClusterError(f"host key refused: {error}") from None


def _fingerprint(plain: bytes) -> str:
    digest = base64.b64encode(hashlib.sha256(plain).digest()).decode().rstrip("=")
    return f"{type_of(plain)} SHA256:{digest}"


def _refusal(status: Status, where: str, name: HostName) -> str:
    if status is Status.REVOKED:
        return f"host key revoked, by {where}"
    return (
        f"host key changed: it is not the one in {where} "
        f"(if that is right: ssh-keygen -R '{name.written}')"
    )
