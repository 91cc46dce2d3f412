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
        self.last: list[str] = []  # what nobody of the hosts has said, its end

    def take(self, line: bytes) -> Started | Ended | None:
        """What a line (with its line end) says of an agent, if it does."""
        key, gone = find_key_line(line), find_gone_line(line)
        if key is not None:
            return self._key(key)
        if gone is not None:
            return self._gone(gone)
        text = line.decode(errors="replace").strip()
        return self._text(text) if text else None

    def _key(self, line: KeyLine) -> Started | None:
        node_rank = self._place(line.node_rank, line.host)
        if node_rank is None or node_rank in self._started:
            return None
        self._started.add(node_rank)
        self._said.pop(node_rank, None)
        return Started(node_rank, line)

    def _gone(self, line: GoneLine) -> Ended | None:
        node_rank = self._place(line.node_rank, line.host)
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
        label = _LABEL.match(text) if self._tool.labels else None
        if label is not None and label[1] in self._ranks:
            said = self._said.setdefault(self._ranks[label[1]], [])
            said.append(label[2])
            del said[:-_KEPT_LINES]
        elif not self._tool.is_noise(text):
            self.last = [*self.last, text][-_KEPT_LINES:]
        return None

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

    def _place(self, node_rank: int, host: str) -> int | None:
        if host:
            return self._ranks.get(host)
        return node_rank if 0 <= node_rank < self._count else None


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
