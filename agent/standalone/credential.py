"""How an agent proves to another that it is the same user's, of the same job.

What is sealed travels in the open and is no secret: a public key, numbers, nonces. A credential
says who sealed it, and that nobody has changed it since. That it is not an old one is for the
nonces in it to say (see ``rendezvous``).
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import ctypes
import hashlib
import hmac
import os
import stat
from typing import Protocol

from madrun.system.errors import ClusterError, InputError

_SHORTEST = 16  # bytes of a key
_LONGEST = 4096
_LIBMUNGE = "libmunge.so.2"


class Credential(Protocol):
    """One way to prove it; ``name`` is what the other side has to use as well."""

    name: str

    def seal(self, payload: bytes) -> bytes:
        """The payload with our proof: one line of ASCII, without its end. Raises ClusterError."""

    def open(self, sealed: bytes) -> bytes:
        """The payload; raises ClusterError, which says why it is not believed."""


class SharedKey:
    """Who knows the key is believed: HMAC-SHA256."""

    def __init__(self, name: str, key: bytes) -> None:
        self.name, self._key = name, key

    def seal(self, payload: bytes) -> bytes:
        """See Credential.

        >>> SharedKey("file", b"k" * 32).open(SharedKey("file", b"k" * 32).seal(b"hello"))
        b'hello'
        """
        return base64.b64encode(self._mac(payload) + payload)

    def open(self, sealed: bytes) -> bytes:
        """See Credential."""
        try:
            text = base64.b64decode(sealed, validate=True)
        except binascii.Error:
            raise ClusterError("what it says is no credential") from None
        mac, payload = text[: hashlib.sha256().digest_size], text[hashlib.sha256().digest_size :]
        if not hmac.compare_digest(mac, self._mac(payload)):
            raise ClusterError("it does not know the key")
        return payload

    def _mac(self, payload: bytes) -> bytes:
        return hmac.digest(self._key, payload, "sha256")


class Munge:
    """Who has our user id is believed; munged, which a cluster runs on each node, proves it.

    Raises ClusterError where there is no libmunge or no munged.
    """

    name = "munge"

    def __init__(self) -> None:
        try:
            self._library = ctypes.CDLL(_LIBMUNGE)
        except OSError as error:
            raise ClusterError(f"munge: {error}") from None
        self._library.munge_strerror.restype = ctypes.c_char_p
        self._libc = ctypes.CDLL(None)
        self.seal(b"")  # is there a munged?

    def seal(self, payload: bytes) -> bytes:
        """See Credential."""
        sealed = ctypes.c_char_p()
        self._check(self._library.munge_encode(ctypes.byref(sealed), None, payload, len(payload)))
        try:
            return sealed.value or b""
        finally:
            self._libc.free(sealed)

    def open(self, sealed: bytes) -> bytes:
        """See Credential."""
        data, size = ctypes.c_void_p(), ctypes.c_int()
        uid, gid = ctypes.c_uint32(), ctypes.c_uint32()
        fields = [ctypes.byref(each) for each in (data, size, uid, gid)]
        try:
            self._check(self._library.munge_decode(sealed, None, *fields))
            payload = ctypes.string_at(data, size.value) if size.value > 0 else b""
        finally:
            self._libc.free(data)
        if uid.value != os.getuid():
            raise ClusterError(f"it belongs to another user (uid {uid.value})")
        return payload

    def _check(self, error: int) -> None:
        if error:
            words: bytes = self._library.munge_strerror(error)
            raise ClusterError(f"munge: {words.decode(errors='replace')}")


def named_key(path: str) -> SharedKey:
    """The key in a file that the user names on every node; raises InputError."""
    try:
        return SharedKey("key", _read_private(path, os.O_RDONLY))
    except OSError as error:
        raise InputError(f"--key-file {path}: {error.strerror}") from None
    except ValueError as error:
        raise InputError(f"--key-file {path}: {error}") from None


def make_key(path: str) -> SharedKey:
    """A new key in a new file, on a file system that all nodes share; raises OSError."""
    key = os.urandom(32)
    with contextlib.suppress(FileNotFoundError):  # of a run of this job that was killed
        os.unlink(path)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with open(fd, "wb") as file:
        file.write(key)
    return SharedKey("file", key)


def shared_key(path: str) -> SharedKey:
    """The key that node 0 has made there; raises ClusterError."""
    try:
        return SharedKey("file", _read_private(path, os.O_RDONLY | os.O_NOFOLLOW))
    except OSError as error:
        raise ClusterError(f"{path}: {error.strerror}") from None
    except ValueError as error:
        raise ClusterError(f"{path}: {error}") from None


def _read_private(path: str, flags: int) -> bytes:
    """The content of a file that nobody but us can have written or read; OSError, ValueError."""
    fd = os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("this is no file")
        if status.st_uid != os.getuid():
            raise ValueError("it belongs to another user: a key file has to be your own")
        if status.st_mode & 0o077:
            mode = stat.S_IMODE(status.st_mode)
            raise ValueError(f"others may use it (mode {mode:04o}): chmod 600 it, with a new key")
        key = os.read(fd, _LONGEST + 1)
    finally:
        os.close(fd)
    if not _SHORTEST <= len(key) <= _LONGEST:
        raise ValueError(f"a key has {_SHORTEST} to {_LONGEST} bytes, this has {len(key)}")
    return key
