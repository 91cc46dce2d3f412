"""``madrun`` and ``python -m madrun.runner``: the runner under its guard."""

from __future__ import annotations

import sys

from madrun.system.signals import hold_signals


def main() -> None:
    """The command; does not return."""
    hold_signals()  # the first thing: none may end us by halves, or with a traceback
    from madrun.record.guard_handover import GuardHandover
    from madrun.system.guard import run_guarded

    handover = GuardHandover()

    def core(guard_fd: int) -> int:
        # Imported in the core only: the guard stays as small as it was at the fork.
        from madrun.runner.cli import run_command

        return run_command(sys.argv[1:], guard_fd, handover)

    run_guarded(core, "madrun", handover.execute, stops=True)


if __name__ == "__main__":
    main()
