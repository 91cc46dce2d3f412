"""The backend that a tool makes; what runs the tool is loaded when a job starts."""

from __future__ import annotations

import os
from collections.abc import Sequence

from madrun.backends.base import AgentStart, Backend, Listener, Session, ToolCommand
from madrun.backends.tools.tool import Tool


def backend_of(tool: Tool) -> Backend:
    """The backend that starts agents by a tool."""

    def session(start: AgentStart, listener: Listener) -> Session:
        from madrun.backends.tools.session import ToolSession

        return ToolSession(tool, start, listener)

    def command(start: AgentStart, addresses: Sequence[str]) -> ToolCommand:
        return tool.command(start, addresses, os.environ)

    return Backend(tool.name, session, takes_args=True, command=command)
