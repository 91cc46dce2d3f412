"""What a tool is that reaches all hosts by itself: pdsh, mpirun, srun. Data and pure functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from madrun.backends.base import AgentStart, ToolCommand
from madrun.backends.tools.openssh import Failure, find_failure

# On the tool's own machine an agent has the tool's environment. What is there for the tool
# alone is taken out: a login on another node would not have it.
AGENT_ENV = ("/usr/bin/env", "-u", "SSH_AUTH_SOCK", "-u", "KRB5CCNAME")


class HostEnd(NamedTuple):
    """What a tool says of one host: with which exit status its command there has ended."""

    host: str
    status: int


def _accepts_any(path: str) -> bool:
    return True


def _tells_no_end(line: str) -> HostEnd | None:
    return None


def _has_no_noise(line: str) -> bool:
    return False


def _has_no_news(line: str) -> str:
    return ""


class Tool(NamedTuple):
    """One tool.

    ``programs`` are its names on the PATH, the best one first; ``accepts`` says of a path whether
    that program is the one that is meant, ``package`` how to get it or what to take instead.
    ``command`` says what is to be run, for runner addresses and the tool's environment, and
    raises InputError for hosts or options that the tool cannot do. ``prefixes`` are how the
    variables begin that the tool reads; of ours it gets no others but a login's.

    ``labels``: it puts the host before each line. ``all_or_none``: one host that cannot be reached
    keeps it from starting any. ``carries_signals``: its users can have it signal the agents, and
    then it ends well. ``ssh_variables`` are those in which its ssh is given words.

    Of a line that it prints, ``find_failure`` says which host could not be reached and why,
    ``find_end`` on which host the command has ended, ``is_noise`` whether it says nothing of
    interest, and ``news`` what the user should know at once.
    """

    name: str
    programs: tuple[str, ...]
    package: str
    command: Callable[[AgentStart, Sequence[str], Mapping[str, str]], ToolCommand]
    prefixes: tuple[str, ...] = ()
    labels: bool = False
    all_or_none: bool = False
    carries_signals: bool = False
    ssh_variables: tuple[str, ...] = ()
    accepts: Callable[[str], bool] = _accepts_any
    find_failure: Callable[[str], Failure | None] = find_failure
    find_end: Callable[[str], HostEnd | None] = _tells_no_end
    is_noise: Callable[[str], bool] = _has_no_noise
    news: Callable[[str], str] = _has_no_news
