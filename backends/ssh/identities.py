"""The keys that a login offers: the SSH agent's and files', in ssh's order."""

from __future__ import annotations

import base64
import os
import socket
import threading
from collections.abc import Iterator, Sequence

import paramiko
from paramiko.agent import AgentKey, AgentSSH
from paramiko.pkey import UnknownKeyType


class KeyFiles:
    """Private keys, each file read once for all logins of a job."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._keys: dict[str, paramiko.PKey | None] = {}
        self._problems: dict[str, str] = {}

    def key(self, path: str) -> paramiko.PKey | None:
        """The key in a file; None where it cannot be used."""
        with self._lock:
            if path not in self._keys:
                self._keys[path] = self._read(path)
            return self._keys[path]

    def problem(self, paths: Sequence[str]) -> str:
        """What is wrong with the first of these files that cannot be used; empty for none."""
        return next((self._problems[path] for path in paths if path in self._problems), "")

    def public_part(self, path: str) -> bytes:
        """The public key that belongs to a file; empty where that is not known."""
        public = _public_file(path + ".pub")
        if not public:
            key = self.key(path)
            public = key.asbytes() if key else b""
        return public

    def _read(self, path: str) -> paramiko.PKey | None:
        try:
            return paramiko.PKey.from_path(path)
        except (TypeError, paramiko.PasswordRequiredException):
            # What cryptography and paramiko raise where there is a passphrase.
            self._problems[path] = f"Private key file is encrypted: {path} (ssh-add it)"
        except (OSError, ValueError, paramiko.SSHException, UnknownKeyType) as error:
            self._problems[path] = f"{path} is no key that can be used: {error}"
        return None


class Agent(AgentSSH):
    """The SSH agent at a socket; one that is not there has no keys."""

    def __init__(self, place: str) -> None:
        super().__init__()
        path = _agent_path(place)
        if not path:
            return
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.connect(path)
            self._connect(connection)  # type: ignore[attr-defined]
        except (OSError, paramiko.SSHException):
            connection.close()

    def close(self) -> None:
        """Let go of the socket."""
        self._close()  # type: ignore[attr-defined]


def offered(
    files: Sequence[str], only_files: bool, agent: Agent, key_files: KeyFiles
) -> Iterator[paramiko.PKey]:
    """The keys to offer: those of the files that the agent holds, its others, the files' own.

    With ``only_files`` (IdentitiesOnly) the agent is only asked for keys of the files.
    """
    held = {key.asbytes(): key for key in agent.get_keys() if _is_usable(key)}
    parts = {path: key_files.public_part(path) for path in files} if held else {}
    named = [held[part] for part in parts.values() if part in held]
    yield from named
    if not only_files:
        yield from (key for key in held.values() if key not in named)
    for path in files:
        if parts.get(path) in held:
            continue
        key = key_files.key(path)
        if key is not None:
            yield key


def _is_usable(key: AgentKey) -> bool:
    """Not a security key's, for one: that would wait for a finger."""
    return getattr(key, "inner_key", None) is not None


def _public_file(path: str) -> bytes:
    try:
        with open(path, encoding="ascii") as file:
            return base64.b64decode(file.read().split()[1], validate=True)
    except (OSError, ValueError, IndexError):
        return b""


def _agent_path(place: str) -> str:
    if place.lower() == "none":
        return ""
    if place == "SSH_AUTH_SOCK":
        return os.environ.get("SSH_AUTH_SOCK", "")
    if place.startswith("$"):
        return os.environ.get(place.strip("${}"), "")
    return place
