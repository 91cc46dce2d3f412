"""The runner's own machine as one of several hosts: an agent process, and no ssh to oneself."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence

from madrun.backends.agents.output import follow
from madrun.backends.base import AgentStart, Listener, tell_step
from madrun.system.open_files import give_back_limit

# What a login gives; the rest of the runner's environment travels only as far as it is exported,
# so that all nodes of a job see the same.
_LOGIN = ("HOME", "USER", "LOGNAME", "SHELL", "PATH", "LANG", "TZ", "XDG_RUNTIME_DIR")


def login_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """What a login on this machine would have of the runner's environment."""
    kept = {name: environ[name] for name in _LOGIN if name in environ}
    return kept | {name: value for name, value in environ.items() if name.startswith("LC_")}


class LocalAgent:
    """An agent on this machine as a child process; ``run`` blocks until it has ended."""

    def __init__(self, launch: AgentStart, node_rank: int, listener: Listener) -> None:
        self._launch, self._node_rank, self._listener = launch, node_rank, listener
        self._process: subprocess.Popen[bytes] | None = None

    def run(self, addresses: Sequence[str]) -> None:
        """Start it and follow it; others reach this machine at ``addresses``."""
        python = self._launch.python
        try:
            self._process = subprocess.Popen(
                self._launch.command(self._node_rank, ["127.0.0.1"]),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=login_environment(os.environ) | {"PYTHONSAFEPATH": "1"},
                start_new_session=True,  # the terminal's Ctrl-C is the runner's to pass on
                bufsize=0,
            )
        except OSError as error:
            reason = f"interpreter {python} cannot be started: {error.strerror}"
            self._listener.agent_failed(self._node_rank, reason)
            return
        give_back_limit(self._process.pid)
        tell_step(self._listener, self._node_rank, "asked")
        output = self._process.stdout
        assert output is not None
        follow(
            lambda: output.read(4096),
            self._process.wait,
            self._node_rank,
            self._listener,
            addresses,
            python,
        )

    def close(self) -> None:
        """Close its stdin: the agent sees that the runner is gone."""
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
