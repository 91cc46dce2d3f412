"""Reading what an agent's process prints, until its end: the key line, then its troubles."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from madrun.backends.base import Listener
from madrun.wire.key_line import find_key_line

_KEPT = 16 * 1024  # bytes of what it printed, for the reason of a failure
_SHOWN_LINES = 3


def follow(
    read: Callable[[], bytes],
    exit_status: Callable[[], int],
    node_rank: int,
    listener: Listener,
    addresses: Sequence[str],
    python: str,
) -> None:
    """Read stdout and stderr of an agent's process to their end and tell the listener."""
    printed = b""
    known = False
    while data := read():
        printed = (printed + data)[-_KEPT:]
        line = None if known else find_key_line(printed)
        if line is not None:
            known = True
            printed = b""
            if line.node_rank == node_rank:
                listener.agent_key(node_rank, line, addresses)
    status = exit_status()
    if known:
        listener.agent_gone(node_rank, agent_end(status, printed))
    else:
        listener.agent_failed(node_rank, start_failure(status, printed, python))


def agent_end(status: int, printed: bytes) -> str:
    """Words for the end of an agent that had started; status -1: the connection was lost."""
    words = "the connection to the agent was lost"
    if status >= 0:
        words = f"the agent ended with status {status}"
    elif status < -1:
        words = f"the agent died of signal {-status}"
    return words + _last_words(printed)


def start_failure(status: int, printed: bytes, python: str) -> str:
    """Why a host's shell did not get as far as a key line."""
    text = printed.decode(errors="replace")
    if "No module named" in text and "madrun" in text:
        return f"madrun is not installed for {python} there (--remote-python names another)"
    if status in (126, 127) or "No such file" in text:
        return f"interpreter {python} is not found there (--remote-python names another)"
    if status < 0:
        return "the connection was lost before the agent had started" + _last_words(printed)
    return f"the agent did not start: exit status {status}" + _last_words(printed)


def _last_words(printed: bytes) -> str:
    lines = [line.strip() for line in printed.decode(errors="replace").splitlines()]
    last = [line for line in lines if line][-_SHOWN_LINES:]
    return ": " + " | ".join(last) if last else ""
