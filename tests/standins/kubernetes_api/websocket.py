"""As much of a WebSocket server (RFC 6455) as a port-forward needs."""

from __future__ import annotations

import base64
import hashlib
import struct
import threading
from contextlib import suppress
from io import BufferedIOBase
from socket import SHUT_RDWR, socket

_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_BINARY, _CLOSE, _PING, _PONG = 2, 8, 9, 10


def accept_key(key: str) -> str:
    """The answer to a client's key."""
    return base64.b64encode(hashlib.sha1((key + _GUID).encode()).digest()).decode()


def frame(content: bytes, code: int = _BINARY) -> bytes:
    """One frame of a server."""
    size = len(content)
    if size < 126:
        return struct.pack(">BB", 0x80 | code, size) + content
    if size < 65536:
        return struct.pack(">BBH", 0x80 | code, 126, size) + content
    return struct.pack(">BBQ", 0x80 | code, 127, size) + content


def read_frame(stream: BufferedIOBase) -> tuple[int, bytes]:
    """One frame of a client: its code and its content; EOFError at the end."""
    code, size = _exactly(stream, 2)
    mask_bit, size = size & 0x80, size & 0x7F
    if size == 126:
        (size,) = struct.unpack(">H", _exactly(stream, 2))
    elif size == 127:
        (size,) = struct.unpack(">Q", _exactly(stream, 8))
    mask = _exactly(stream, 4) if mask_bit else bytes(4)
    content = _exactly(stream, size)
    repeated = mask * (size // 4 + 1)
    number = int.from_bytes(content, "big") ^ int.from_bytes(repeated[:size], "big")
    return code & 0x0F, number.to_bytes(size, "big")


def _exactly(stream: BufferedIOBase, size: int) -> bytes:
    data = stream.read(size) if size else b""
    if len(data) < size:
        raise EOFError
    return data


def forward(client: socket, stream: BufferedIOBase, port: int, inner: socket) -> None:
    """Carry one port's bytes both ways until an end closes."""
    lock = threading.Lock()

    def send(content: bytes, code: int = _BINARY) -> None:
        with lock:
            client.sendall(frame(content, code))

    for channel in (0, 1):
        send(bytes([channel]) + struct.pack("<H", port))

    def outward() -> None:
        with suppress(OSError):
            while data := inner.recv(65536):
                send(b"\0" + data)
        with suppress(OSError):
            send(b"", _CLOSE)
            client.shutdown(SHUT_RDWR)

    pump = threading.Thread(target=outward, name="port-forward", daemon=True)
    pump.start()
    with suppress(OSError, EOFError):
        while True:
            code, content = read_frame(stream)
            if code == _CLOSE:
                break
            if code == _PING:
                send(content, _PONG)
            elif content[:1] == b"\0":
                inner.sendall(content[1:])
    with suppress(OSError):
        inner.shutdown(SHUT_RDWR)
    pump.join()
    inner.close()
