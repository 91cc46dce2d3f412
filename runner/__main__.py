"""``madrun`` and ``python -m madrun.runner``: the runner under its guard."""

from __future__ import annotations

import sys
from functools import partial
from typing import NoReturn

from madrun.record.guard_handover import GuardHandover
from madrun.system.guard import run_guarded


def main() -> NoReturn:
    """The command; does not return."""
    handover = GuardHandover()
    run_guarded(partial(_core, handover), "madrun", handover.execute)


def _core(handover: GuardHandover, guard_fd: int) -> int:
    # Imported in the core only: the guard stays as small as it was at the fork.
    from madrun.runner.cli import run_command

    return run_command(sys.argv[1:], guard_fd, handover)


if __name__ == "__main__":
    main()
