"""``madrun`` and ``python -m madrun.runner``: the runner under its guard."""

from __future__ import annotations

import sys
from functools import partial
from typing import NoReturn

from madrun.record.guard_handover import Will
from madrun.system.guard import run_guarded


def main() -> NoReturn:
    """The command; does not return."""
    will = Will()
    run_guarded(partial(_core, will), "madrun", will.execute)


def _core(will: Will, guard_fd: int) -> int:
    # Imported in the core only: the guard stays as small as it was at the fork.
    from madrun.runner.cli import run_command

    return run_command(sys.argv[1:], guard_fd, will)


if __name__ == "__main__":
    main()
