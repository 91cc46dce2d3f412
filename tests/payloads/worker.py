"""A worker for tests: it comes up, says so, does what it was asked to, and waits for its end.

worker.py [exit=RANK:STATUS] [signal=RANK:NUMBER] [daemons] [ignore-term] [ignore-int] [hold]
Prints ``up RANK`` once all it starts has been started. With ``hold`` it waits for ever; an exit
or a signal comes as soon as all ranks are up (a barrier over the master port).
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time

RANK, SIZE = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
MASTER = (os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]))


def barrier() -> None:
    """Returns once every rank has called it."""
    if RANK == 0:
        family = socket.AF_INET6 if ":" in MASTER[0] else socket.AF_INET
        with socket.create_server(("", MASTER[1]), family=family, backlog=SIZE) as server:
            peers = [server.accept()[0] for _ in range(SIZE - 1)]
            for peer in peers:
                peer.sendall(b"g")
        return
    deadline = time.monotonic() + 100
    while True:
        try:
            with socket.create_connection(MASTER, timeout=30) as peer:
                if peer.recv(1) == b"g":
                    return
        except OSError:
            pass
        if time.monotonic() > deadline:
            sys.exit("the barrier was not reached")
        time.sleep(0.02)


def daemons() -> None:
    """A child, a child in its own session, a double-forked one with a cleared environment."""
    subprocess.Popen(["sleep", "4001"])
    subprocess.Popen(["sleep", "4002"], start_new_session=True)
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            null = os.open(os.devnull, os.O_RDWR)
            for fd in range(3):
                os.dup2(null, fd)
            os.execve("/bin/sleep", ["sleep", "4003"], {})
        os._exit(0)
    os.wait()


def asked(word: str) -> int | None:
    """The number that an argument ``word=RANK:NUMBER`` gives this rank."""
    for argument in sys.argv[1:]:
        name, _, value = argument.partition("=")
        if name == word and value.split(":")[0] == str(RANK):
            return int(value.split(":")[1])
    return None


def main() -> None:
    """See the module's docstring."""
    if "ignore-int" in sys.argv:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    if "ignore-term" in sys.argv:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGUSR1, lambda *_: print(f"usr1 {RANK}", flush=True))
    if "daemons" in sys.argv:
        daemons()
    print(f"up {RANK}", flush=True)
    barrier()
    status, number = asked("exit"), asked("signal")
    if status is not None:
        print(f"rank {RANK} says goodbye", file=sys.stderr, flush=True)
        sys.exit(status)
    if number is not None:
        os.kill(os.getpid(), number)
    while "hold" in sys.argv:
        signal.pause()


main()
