"""The backend that a tool makes; what runs the tool is loaded when a job starts."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from madrun.backends.base import AgentStart, Backend, Listener, Session, ToolCommand

if TYPE_CHECKING:
    from madrun.backends.tools.tool import Tool


def backend_of(tool: Tool) -> Backend:
    """The backend that starts agents by a tool."""
    return backend_with(tool.name, lambda: tool)


def backend_with(name: str, tool: Callable[[], Tool]) -> Backend:
    """The same, for a tool whose module is to be loaded only where it is used."""

    def session(start: AgentStart, listener: Listener) -> Session:
        from madrun.backends.tools.session import ToolSession

        return ToolSession(tool(), start, listener)

    def command(start: AgentStart, addresses: Sequence[str]) -> ToolCommand:
        return tool().command(start, addresses, os.environ)

    return Backend(name, session, takes_args=True, command=command)
