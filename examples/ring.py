"""A token goes round all ranks over direct connections, and each one adds its rank to it.

The ranks meet at rank 0 (MASTER_ADDR, MASTER_PORT). Ends with 1 if sum or LOCAL_RANK is wrong.
"""

import json
import os
import socket
import sys
import time
from typing import Any

PATIENCE = 30.0
socket.setdefaulttimeout(PATIENCE)

RANK, WORLD_SIZE = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
MASTER = (os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]))


def connect(address: tuple[str, int]) -> socket.socket:
    """A connection to somebody who may not be listening yet."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return socket.create_connection(address)
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def listen(port: int) -> socket.socket:
    """A listener for IPv4 and IPv6, as far as this machine has them."""
    if not socket.has_dualstack_ipv6():
        return socket.create_server(("", port), backlog=WORLD_SIZE)
    return socket.create_server(
        ("", port), family=socket.AF_INET6, backlog=WORLD_SIZE, dualstack_ipv6=True
    )


def send(connection: socket.socket, message: object) -> None:
    """Send one message: a line of JSON."""
    connection.sendall(json.dumps(message).encode() + b"\n")


def tell(address: tuple[str, int], message: object) -> None:
    """Connect, say one thing, and hang up."""
    with connect(address) as connection:
        send(connection, message)


def receive(connection: socket.socket) -> Any:
    """Receive one message."""
    with connection.makefile() as stream:
        return json.loads(stream.readline())


def host_rendezvous(port: int) -> tuple[str, int]:
    """Rank 0: collect everybody's address, tell each rank its successor's; return our own's."""
    addresses = {0: (MASTER[0], port)}
    callers = {}
    with listen(MASTER[1]) as server:
        while len(addresses) < WORLD_SIZE:
            caller, (ip, *_) = server.accept()
            rank, its_port = receive(caller)
            addresses[rank], callers[rank] = (ip, its_port), caller
        for rank, caller in callers.items():
            with caller:
                send(caller, addresses[(rank + 1) % WORLD_SIZE])
    return addresses[1 % WORLD_SIZE]


def ask_rendezvous(port: int) -> tuple[str, int]:
    """Every other rank: say where we listen, learn where our successor does."""
    with connect(MASTER) as connection:
        send(connection, (RANK, port))
        return tuple(receive(connection))


def go_round() -> int:
    """Pass the token on when it comes; rank 0 makes it, and has it last. The sum as we saw it."""
    with listen(0) as server:
        meet = host_rendezvous if RANK == 0 else ask_rendezvous
        following = meet(server.getsockname()[1])
        if RANK == 0:
            tell(following, 0)
        with server.accept()[0] as before:
            token = RANK + int(receive(before))
        if RANK != 0:
            tell(following, token)
    return token


def main() -> int:
    """Check our place and the sum."""
    local_rank, local_world = int(os.environ["LOCAL_RANK"]), int(os.environ["LOCAL_WORLD_SIZE"])
    if local_rank >= local_world:
        sys.exit(f"rank {RANK}: LOCAL_RANK is {local_rank}, LOCAL_WORLD_SIZE {local_world}")
    token = go_round()
    if RANK == 0:
        print(f"ring of {WORLD_SIZE} ranks: sum {token}", flush=True)
    added = WORLD_SIZE if RANK == 0 else RANK + 1
    return int(token != added * (added - 1) // 2)


if __name__ == "__main__":
    sys.exit(main())
