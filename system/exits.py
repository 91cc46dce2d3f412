"""Exit statuses: what a process's end is called, and what the job's exit status becomes."""

from __future__ import annotations

import signal

FAILED = 125  # madrun itself failed: a host could not be reached, an agent is missing or lost


def exit_status(status: int) -> int:
    """The shell's exit status for a returncode: n, or 128 + s for a death by signal s.

    >>> exit_status(7), exit_status(-9)
    (7, 137)
    """
    return status if status >= 0 else 128 - status


def exit_words(status: int) -> str:
    """An exit status in words.

    >>> exit_words(7), exit_words(-9)
    ('exited with status 7', 'died of signal 9 (SIGKILL)')
    """
    if status >= 0:
        return f"exited with status {status}"
    try:
        return f"died of signal {-status} ({signal.Signals(-status).name})"
    except ValueError:
        return f"died of signal {-status}"
