"""A worker that waits for its end: it says where it is, and when it was told to go.

victim.py [ignore-term]
The files are on the folder that all hosts share: SHARE/up/RANK has host and process id,
SHARE/term/RANK the monotonic time of its SIGTERM. All hosts have one clock: their kernel is one.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from types import FrameType

NAMES = ("RANK", "OMPI_COMM_WORLD_RANK", "PMI_RANK")
RANK = next((os.environ[name] for name in NAMES if name in os.environ), "0")


def shared() -> Path:
    """The shared folder of the hosts: the one folder under the testbed's base that is there."""
    return next(Path("/tmp").glob("madrun-testbed-*/share"))


def write(folder: str, text: str) -> None:
    """A file that is there as a whole or not at all."""
    new = SHARE / f".{folder}-{RANK}"
    new.write_text(text)
    new.rename(SHARE / folder / RANK)


def told(_number: int, _frame: FrameType | None) -> None:
    """TERM: say so and go."""
    write("term", str(time.monotonic()))
    if "ignore-term" not in sys.argv:
        sys.exit(143)


SHARE = shared()
signal.signal(signal.SIGTERM, told)
write("up", f"{os.uname().nodename} {os.getpid()}")
while True:
    signal.pause()
