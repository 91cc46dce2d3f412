"""A worker that writes much: flood.py endless | burst LINES | long BYTES | binary BYTES.

``endless``: rank 0 prints numbered lines until a signal, and then says to FLOOD_COUNT (a file) how
many; the others print a line ten times a second. ``burst``: every rank prints so many lines.
``long``: one line of so many bytes. ``binary``: all bytes but the carriage return, over and over,
in odd pieces.
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
import time

RANK = int(os.environ["RANK"])
BINARY = bytes(byte for byte in range(256) if byte != 13)


def numbered(number: int) -> bytes:
    """A line of a flood."""
    return b"%d line %09d of a flood, and a little more of it\n" % (RANK, number)


def endless() -> None:
    """See the module's docstring."""
    stopped: list[int] = []
    for ending in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ending, lambda *_: stopped.append(1))
    if RANK:
        print(f"up {RANK}", flush=True)
    for number in itertools.count():
        if stopped:
            break
        if RANK:
            print(f"rank {RANK} lives", flush=True)
            time.sleep(0.1)
            continue
        data = b"".join(numbered(number * 100 + each) for each in range(100))
        while data:
            data = data[os.write(1, data) :]
    if RANK == 0:
        with open(os.environ["FLOOD_COUNT"], "w", encoding="utf-8") as file:
            file.write(str(number * 100))


def write(data: bytes, piece: int) -> None:
    """Write in pieces of such a size."""
    for start in range(0, len(data), piece):
        part = data[start : start + piece]
        while part:
            part = part[os.write(1, part) :]


def main() -> None:
    """See the module's docstring."""
    what = sys.argv[1]
    size = int(sys.argv[2]) if sys.argv[2:] else 0
    if what == "endless":
        endless()
    elif what == "burst":
        write(b"".join(map(numbered, range(size))), 100_000)
    elif what == "long":
        write(bytes([97 + RANK]) * size + b"\n", 100_000)
    elif what == "binary":
        write(BINARY * (size // len(BINARY)), 997)


if __name__ == "__main__":
    main()
