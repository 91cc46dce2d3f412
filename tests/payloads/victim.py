"""A worker that waits for its end and leaves a file when it is up, and one when it is told to go.

The files are on the folder that all hosts share: SHARE/up/RANK, SHARE/term/RANK.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from types import FrameType

RANK = os.environ.get("RANK") or os.environ.get("OMPI_COMM_WORLD_RANK", "0")


def shared() -> Path:
    """The shared folder of the hosts: the one folder under the testbed's base that is there."""
    return next(Path("/tmp").glob("madrun-testbed-*/share"))


def told(_number: int, _frame: FrameType | None) -> None:
    """TERM: say so and go."""
    (SHARE / "term" / RANK).touch()
    sys.exit(143)


SHARE = shared()
signal.signal(signal.SIGTERM, told)
(SHARE / "up" / RANK).touch()
while True:
    signal.pause()
