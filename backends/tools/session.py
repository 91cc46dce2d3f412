"""One tool that runs, and the agents that it has started.

The tool starts the same constant command on every host and carries back what the agents print,
all of it on one way. A job is ended through the channel, never through the tool: these tools
kill without any grace, or do not kill at all. What is left of the tool is ended at the close.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from typing import IO

from madrun.backends.agents.local import login_environment
from madrun.backends.base import FOLDER, AgentStart, Listener, tell_step
from madrun.backends.tools.openssh import quick_key_exchange
from madrun.backends.tools.tool import Tool
from madrun.backends.tools.tool_output import Ended, Started, Words
from madrun.hosts.reach import own_address_towards
from madrun.system.errors import ClusterError
from madrun.system.exits import exit_words
from madrun.system.kernel import become_subreaper, kill_children
from madrun.system.open_files import give_back_limit
from madrun.system.private_folder import make_folder, parent_folder, remove_folder

_OWN_END = 1.0  # seconds for a tool whose agents have all left
_TERM_LIMIT = 2.0  # seconds for one that is told to go
_KILL_LIMIT = 2.0
_LAST_READ = 0.3  # seconds for what a tool that has ended wrote last
_AHEAD = 0.5  # seconds: what a killed tool takes along may be heard of before its own end is
_OTHERS = 1.0  # seconds in which other hosts may fail as well, where one fails all
_MOST_ADDRESSES = 8
_ASKED_HOSTS = 2  # whose names are looked up, which can be slow
_READ = 65536
# Beyond a login's environment: what ssh and the tools themselves read. Nothing of it is for
# workers, whose variables travel over the channel.
_FOR_TOOLS = ("SSH_AUTH_SOCK", "KRB5CCNAME", "LD_LIBRARY_PATH", "TMPDIR")


def find_program(tool: Tool, path: str | None) -> str:
    """The tool's program on the PATH; raises ClusterError that says what to install."""
    for name in tool.programs:
        found = shutil.which(name, path=path)
        if found and tool.accepts(found):
            return found
    names = " or ".join(tool.programs)
    raise ClusterError(f"--backend {tool.name}: {names} is not found here; {tool.package}")


def runner_addresses(launch: AgentStart) -> list[str]:
    """Ours, as hosts may reach us: the one towards the hosts first, never the loopback's."""
    import psutil

    towards = [own_address_towards(host.address) for host in launch.hosts[:_ASKED_HOSTS]]
    others = [
        entry.address
        for entries in psutil.net_if_addrs().values()
        for entry in entries
        if entry.family.name in ("AF_INET", "AF_INET6")
    ]
    usable = [each for each in (*towards, *others) if each and not _is_of_one_machine(each)]
    return list(dict.fromkeys(usable))[:_MOST_ADDRESSES] or ["127.0.0.1"]


def _is_of_one_machine(address: str) -> bool:
    return address.startswith(("127.", "169.254.", "fe80:")) or address == "::1"


def tool_environment(environ: Mapping[str, str], prefixes: Sequence[str]) -> dict[str, str]:
    """What the tool gets of the runner's environment: a login's, and what is for such tools.

    Some tools hand theirs on to the agents. A node must not see more of ours than a login shows.
    """
    kept = {
        name: value
        for name, value in environ.items()
        if name in _FOR_TOOLS or name.startswith(tuple(prefixes))
    }
    return login_environment(environ) | kept


class ToolSession:
    """Runs a tool, reads what comes, and lets nothing of it live on."""

    def __init__(self, tool: Tool, launch: AgentStart, listener: Listener) -> None:
        self._tool, self._launch, self._listener = tool, launch, listener
        self._words = Words(launch.hosts, launch.python, tool)
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: threading.Thread | None = None
        self._waiter: threading.Thread | None = None
        self._giving_up: threading.Timer | None = None
        self._came = self._here = 0  # agents that have started; and not ended since
        self._folder = ""
        self._told: set[str] = set()

    def start(self) -> None:
        """Start the tool; raises ClusterError where it is not there."""
        tool, environ = self._tool, os.environ
        path = find_program(tool, environ.get("PATH"))
        own = tool_environment(environ, tool.prefixes)
        command = tool.command(self._launch, runner_addresses(self._launch), own)
        self._write_files(command.files)
        env = {**own, **command.env, **self._quick_ssh(command.env, own)}
        argv = [word.replace(FOLDER, self._folder) for word in command.argv]
        # What the tool leaves when it dies (ssh clients) becomes ours to end, and only ours.
        become_subreaper()
        try:
            self._process = subprocess.Popen(
                argv,
                executable=path,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env={name: value.replace(FOLDER, self._folder) for name, value in env.items()},
                cwd="/",  # which every host has; workers are put where the job spec says
                start_new_session=True,  # the terminal's Ctrl-C is the runner's to pass on
                bufsize=0,
            )
        except OSError as error:
            raise ClusterError(f"{path} cannot be started: {error.strerror}") from None
        give_back_limit(self._process.pid)
        self._listener.tool_started(self._tool.carries_signals)
        for node_rank in range(len(self._launch.hosts)):
            tell_step(self._listener, node_rank, "asked")
        output = self._process.stdout
        assert output is not None
        self._reader = threading.Thread(target=self._read, args=(output,), daemon=True)
        self._waiter = threading.Thread(target=self._wait, daemon=True)
        self._reader.start()
        self._waiter.start()

    def close(self) -> None:
        """Let go: a tool that has not ended by itself is told to, then killed, with its children.

        All of it is done by process id: children of ours, and what they leave to us.
        """
        if self._giving_up is not None:
            self._giving_up.cancel()
        process, waiter = self._process, self._waiter
        if process is not None and waiter is not None:
            waiter.join(_OWN_END if self._came and not self._here else 0.0)
            for end, limit in ((process.terminate, _TERM_LIMIT), (process.kill, _KILL_LIMIT)):
                if waiter.is_alive():
                    end()
                    waiter.join(limit)
            sweep = threading.Thread(target=_end_children, daemon=True)
            sweep.start()
            sweep.join(_KILL_LIMIT)  # one that is stuck in the kernel is left to our guard
        if self._folder:
            remove_folder(self._folder)

    def _quick_ssh(self, env: Mapping[str, str], own: Mapping[str, str]) -> dict[str, str]:
        """The tool's variables with words for its ssh, the quick key exchange among them."""
        names = self._tool.ssh_variables
        words = [word for name in names for word in env[name].split()]
        first = self._launch.hosts[0].address
        exchange = quick_key_exchange(words, first, own) if names else ""
        return {name: f"{env[name]} -o KexAlgorithms={exchange}" for name in names if exchange}

    def _write_files(self, files: Mapping[str, str]) -> None:
        if not files:
            return
        parent = parent_folder(os.environ)
        self._folder = make_folder(parent)
        if not self._folder:
            raise ClusterError(f"{parent}: no private folder can be made there for the hosts")
        for name, text in files.items():
            path = os.path.join(self._folder, name)
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with open(fd, "w", encoding="utf-8") as file:
                file.write(text)

    def _read(self, output: IO[bytes]) -> None:
        rest = b""
        while data := output.read(_READ):
            *lines, rest = (rest + data).split(b"\n")
            rest = rest[-_READ:]
            for line in lines:
                self._tell(self._words.take(line + b"\n"))
                self._pass_on(line)
        self._tell(self._words.take(rest + b"\n"))

    def _tell(self, event: Started | Ended | None) -> None:
        match event:
            case Started(node_rank, line):
                self._came += 1
                self._here += 1
                name = self._launch.hosts[node_rank].address
                addresses = [line.address, name] if line.address else [name]
                self._listener.agent_key(node_rank, line, addresses)
            case Ended(node_rank, reason, True):
                self._here -= 1
                self._listener.agent_gone(node_rank, reason)
            case Ended(node_rank, reason, False):
                self._listener.agent_failed(node_rank, reason)
                if self._tool.all_or_none and self._giving_up is None:
                    self._give_up_soon()

    def _pass_on(self, line: bytes) -> None:
        """What the user should know at once, once."""
        text = self._tool.news(line.decode(errors="replace"))
        if text and text not in self._told:
            self._told.add(text)
            self._listener.tool_says(text)

    def _give_up_soon(self) -> None:
        """Hosts without a fault of their own need not be waited for: none of them will come."""
        reason = f"was not started: {self._tool.name} starts all hosts or none"
        self._giving_up = threading.Timer(_OTHERS, self._give_up, (reason,))
        self._giving_up.daemon = True
        self._giving_up.start()

    def _give_up(self, reason: str) -> None:
        self._listener.tool_ended(reason, time.monotonic(), well=False)

    def _wait(self) -> None:
        process, reader = self._process, self._reader
        assert process is not None
        assert reader is not None
        status, at = process.wait(), time.monotonic()
        if status < 0:
            at -= _AHEAD
        reader.join(_LAST_READ)  # children that live on may hold the pipe open
        last = " | ".join(self._words.told())
        words = f"{os.path.basename(str(process.args[0]))} {exit_words(status)}"  # type: ignore[index]
        self._listener.tool_ended(f"{words}: {last}" if last else words, at, well=status == 0)


def _end_children() -> None:
    """SIGKILL to all that the tool left; a runner has no other children."""
    while True:
        kill_children()
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return
