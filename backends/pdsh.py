"""The pdsh backend: one pdsh that runs one ssh per host."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Mapping, Sequence

from madrun.backends.base import FOLDER, AgentStart, ToolCommand
from madrun.backends.tools.openssh import asked_words, common_login, default_words
from madrun.backends.tools.tool import HostEnd, Tool
from madrun.backends.tools.tool_backend import backend_of
from madrun.system.errors import InputError

_EXTRA = "PDSH_SSH_ARGS_APPEND"
_PLACE = "host:%h"  # pdsh puts the host's name
_END = r"pdsh@\S+: (\S+): ssh exited with exit code (\d+)"


def command(start: AgentStart, addresses: Sequence[str], environ: Mapping[str, str]) -> ToolCommand:
    """pdsh's words; the hosts are in a file.

    Every host gets its ssh at once (-f): commands that do not end would keep a further host
    waiting for ever. pdsh puts the host's name for %h: so an agent is told who it is.
    """
    ssh = common_login(start.hosts, start.ssh, "pdsh")
    names = [host.address for host in start.hosts]
    for name in names:
        if ":" in name:
            raise InputError(f"--backend pdsh cannot name {name}: a host name is wanted")
    agent = ["exec", "/usr/bin/env", "PYTHONSAFEPATH=1"]
    agent += [*start.command(_PLACE, addresses), "--tool", "pdsh"]
    shell = " ".join(_word(word) for word in agent)
    argv = ["pdsh", "-S", "-R", "ssh", "-f", str(len(names))]
    argv += ["-t", str(math.ceil(ssh.connect_timeout)), "-u", "0"]
    argv += [*start.backend_args, "-w", f"^{FOLDER}/hosts", shell]
    # Of two equal options ssh takes the first: what was asked, the user's, our defaults.
    # (pdsh's own -l is dropped where it is our own name, whatever ssh_config says.)
    extra = [_plain(word) for word in asked_words(ssh)]
    extra += [environ[_EXTRA]] if environ.get(_EXTRA) else []
    extra += default_words(ssh)
    return ToolCommand(
        tuple(argv), {_EXTRA: " ".join(extra)}, {"hosts": "".join(f"{n}\n" for n in names)}
    )


def find_end(line: str) -> HostEnd | None:
    """pdsh says of each host how its ssh ended, where that was not with 0.

    >>> find_end("pdsh@head: node03: ssh exited with exit code 127")
    HostEnd(host='node03', status=127)
    """
    found = re.search(_END, line)
    return HostEnd(found[1], int(found[2])) if found else None


def _word(word: str) -> str:
    """A word for the remote shell; pdsh would put something else for %n and kin.

    >>> _word("/opt/100%n/py thon"), _word("host:%h")
    ("'/opt/100%%n/py thon'", 'host:%h')
    """
    return word if word == _PLACE else shlex.quote(_plain(word))


def _plain(word: str) -> str:
    return word.replace("%", "%%")


TOOL = Tool(
    name="pdsh",
    programs=("pdsh",),
    package="install the package pdsh (and pdsh-rcmd-ssh where there is one), or use --backend ssh",
    command=command,
    prefixes=("PDSH_", "FANOUT", "DSHPATH"),
    labels=True,
    ssh_variables=(_EXTRA,),
    find_end=find_end,
)
BACKEND = backend_of(TOOL)
