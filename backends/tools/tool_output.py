"""What a tool prints that carries all agents' output on one way: whose line means what."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from madrun.backends.agents.output import agent_end, start_failure
from madrun.backends.tools.tool import HostEnd, Tool
from madrun.hosts.hostfile import Host
from madrun.wire.key_line import GoneLine, KeyLine, find_gone_line, find_key_line

_KEPT_LINES = 8
_SHOWN_LINES = 3
_RULER = re.compile(r"-{20,}")  # before and behind each message of Open MPI
_LABEL = re.compile(r"([A-Za-z0-9_.-]+): (.*)")


class Started(NamedTuple):
    """An agent runs."""

    node_rank: int
    line: KeyLine


class Ended(NamedTuple):
    """An agent has ended, or its host could not be used; the listener knows which it was."""

    node_rank: int
    reason: str
    was_started: bool


class Words:
    """Reads the lines of a tool and tells what they mean."""

    def __init__(self, hosts: Sequence[Host], python: str, tool: Tool) -> None:
        self._python, self._tool = python, tool
        self._ranks = _by_name(hosts)
        self._count = len(hosts)
        self._started: set[int] = set()
        self._ended: set[int] = set()
        self._said: dict[int, list[str]] = {}
        self._last: list[str] = []  # what nobody of the hosts has said, its end
        self._message: list[str] = []  # the beginning of the last one between two rulers
        self._in_message = False

    def take(self, line: bytes) -> Started | Ended | None:
        """What a line (with its line end) says of an agent, if it does."""
        key, gone = find_key_line(line), find_gone_line(line)
        text = line.decode(errors="replace").strip()
        if key is not None:
            return self._key(key, text)
        if gone is not None:
            return self._gone(gone, text)
        return self._text(text) if text else None

    def _key(self, line: KeyLine, text: str) -> Started | None:
        node_rank = self._place(line, text)
        if node_rank is None or node_rank in self._started:
            return None
        self._started.add(node_rank)
        self._said.pop(node_rank, None)
        return Started(node_rank, line)

    def _gone(self, line: GoneLine, text: str) -> Ended | None:
        node_rank = self._place(line, text)
        if node_rank is None or node_rank not in self._started:
            return None
        return self._end(node_rank, agent_end(line.status, line.words.encode()))

    def _text(self, text: str) -> Ended | None:
        end = self._tool.find_end(text)
        if end is not None:
            return self._host_end(end)
        failure = self._tool.find_failure(text)
        node_rank = self._ranks.get(failure.host) if failure else None
        if failure and node_rank is not None and node_rank not in self._started:
            return self._end(node_rank, failure.reason)
        sender, words = self._sender(text)
        if sender is not None:
            said = self._said.setdefault(sender, [])
            said.append(words)
            del said[:-_KEPT_LINES]
        elif not self._tool.is_noise(text):
            self._keep(text)
        return None

    def told(self) -> list[str]:
        """The tool's own words, a few lines of them."""
        return self._message or self._last[-_SHOWN_LINES:]

    def _keep(self, text: str) -> None:
        if _RULER.fullmatch(text):
            self._in_message = not self._in_message
            self._message = [] if self._in_message else self._message
        elif not self._in_message:
            self._last = [*self._last, text][-_SHOWN_LINES:]
        elif len(self._message) < _SHOWN_LINES:
            self._message.append(text)

    def _host_end(self, end: HostEnd) -> Ended | None:
        node_rank, status = self._ranks.get(end.host), end.status
        if node_rank is None:
            return None
        said = "\n".join(self._said.get(node_rank, [])).encode()
        if node_rank in self._started:
            return self._end(node_rank, agent_end(status, said))
        return self._end(node_rank, start_failure(status, said, self._python))

    def _end(self, node_rank: int, reason: str) -> Ended | None:
        if node_rank in self._ended:
            return None
        self._ended.add(node_rank)
        return Ended(node_rank, reason, node_rank in self._started)

    def _place(self, line: KeyLine | GoneLine, text: str) -> int | None:
        """Whose line it is; None for one that another host than its sender is said to have sent."""
        claimed: int | None = line.node_rank
        if line.host:
            claimed = self._ranks.get(line.host)
        if claimed is None or not 0 <= claimed < self._count:
            return None
        return claimed if not self._tool.labels or self._sender(text)[0] == claimed else None

    def _sender(self, text: str) -> tuple[int | None, str]:
        """The host that the tool has put in front of a line, and what it said."""
        label = _LABEL.match(text) if self._tool.labels else None
        return (self._ranks.get(label[1]), label[2]) if label else (None, text)


def _by_name(hosts: Sequence[Host]) -> dict[str, int]:
    """Node ranks by every name that a tool may use: address, and its first label if it is unique.

    >>> _by_name([Host("root@a.x", ()), Host("b.x", ()), Host("b.y", ())])
    {'a': 0, 'a.x': 0, 'b.x': 1, 'b.y': 2}
    """
    short: dict[str, list[int]] = {}
    for node_rank, host in enumerate(hosts):
        short.setdefault(host.address.partition(".")[0], []).append(node_rank)
    found = {name: ranks[0] for name, ranks in short.items() if len(ranks) == 1}
    return found | {host.address: node_rank for node_rank, host in enumerate(hosts)}
