"""A process that carries packets late, and loses some: the kernel may lack netem.

It moves frames between a host's port and a tap which stands in for that port on the bridge. Run in
the switch's network namespace, as a file, with: PORT TAP DELAY JITTER LOSS (seconds, seconds, part
of 1).
"""

from __future__ import annotations

import collections
import contextlib
import fcntl
import os
import random
import select
import socket
import struct
import sys
import time

# linux/if_tun.h, linux/if_packet.h, linux/if_ether.h, asm-generic/socket.h
TUNSETIFF, TUNSETOFFLOAD = 0x400454CA, 0x400454D0
IFF_TAP, IFF_NO_PI, IFF_VNET_HDR = 0x0002, 0x1000, 0x4000
CHECKSUM_AND_SEGMENTATION = 1 | 2 | 4 | 8
SOL_PACKET, PACKET_VNET_HDR, PACKET_IGNORE_OUTGOING = 263, 15, 23
SO_SNDBUFFORCE, SO_RCVBUFFORCE = 32, 33
ETH_P_ALL = 3
BUFFER = 8 << 20
LONGEST_FRAME = 70000


class Line:
    """One direction: frames wait here until they are due, and never overtake each other."""

    def __init__(self, source: int, sink: int, delay: float, jitter: float, loss: float) -> None:
        self.source, self.sink = source, sink
        self.delay, self.jitter, self.loss = delay, jitter, loss
        self.waiting: collections.deque[tuple[float, bytes]] = collections.deque()

    def due(self) -> float | None:
        """When the next frame has to go, if there is one."""
        return self.waiting[0][0] if self.waiting else None

    def take(self) -> None:
        """Take in every frame there is."""
        with contextlib.suppress(BlockingIOError):
            while True:
                frame = os.read(self.source, LONGEST_FRAME)
                if random.random() < self.loss:
                    continue
                due = time.monotonic() + self.delay + random.uniform(0, self.jitter)
                last = self.waiting[-1][0] if self.waiting else 0
                self.waiting.append((max(due, last), frame))

    def give(self) -> None:
        """Send on what is due; a full queue drops, as a wire would."""
        now = time.monotonic()
        while self.waiting and self.waiting[0][0] <= now:
            with contextlib.suppress(OSError):
                os.write(self.sink, self.waiting.popleft()[1])


def open_tap(name: str) -> int:
    """A new network interface whose frames we read and write."""
    tap = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR
    fcntl.ioctl(tap, TUNSETIFF, struct.pack("16sH22x", name.encode(), flags))
    fcntl.ioctl(tap, TUNSETOFFLOAD, CHECKSUM_AND_SEGMENTATION)
    return tap


def open_port(name: str) -> socket.socket:
    """A socket that sees every frame that arrives at the port."""
    port = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    port.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
    port.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
    for option in (SO_RCVBUFFORCE, SO_SNDBUFFORCE):
        port.setsockopt(socket.SOL_SOCKET, option, BUFFER)
    port.bind((name, ETH_P_ALL))
    port.setblocking(False)
    return port


def main(port_name: str, tap_name: str, *numbers: str) -> None:
    """Carry frames until killed."""
    tap, port = open_tap(tap_name), open_port(port_name)
    delay, jitter, loss = map(float, numbers)
    lines = {
        source: Line(source, sink, delay, jitter, loss)
        for source, sink in [(tap, port.fileno()), (port.fileno(), tap)]
    }
    print("ready", flush=True)
    while True:
        due = min((at for line in lines.values() if (at := line.due()) is not None), default=None)
        wait = None if due is None else max(0, due - time.monotonic())
        for source in select.select(list(lines), [], [], wait)[0]:
            lines[source].take()
        for line in lines.values():
            line.give()


if __name__ == "__main__":
    main(*sys.argv[1:])
