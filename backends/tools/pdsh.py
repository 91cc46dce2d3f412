"""The pdsh backend: one pdsh that runs one ssh per host."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence

from madrun.backends.base import Launch
from madrun.backends.tools.openssh import (
    asked_words,
    common_login,
    default_words,
    quick_key_exchange,
)
from madrun.backends.tools.tool import FOLDER, ToolCommand
from madrun.system.errors import InputError

_EXTRA = "PDSH_SSH_ARGS_APPEND"
_PLACE = "host:%h"  # pdsh puts the host's name


class Pdsh:
    """See madrun.backends.tools.tool.Tool."""

    name = "pdsh"
    programs = ("pdsh",)
    package = (
        "install the package pdsh (and pdsh-rcmd-ssh where there is one), or use --backend ssh"
    )
    prefixes = ("PDSH_", "FANOUT", "DSHPATH")
    labels = True
    all_or_none = False

    def command(
        self,
        launch: Launch,
        addresses: Sequence[str],
        environ: Mapping[str, str],
        key_exchange: str,
    ) -> ToolCommand:
        """pdsh's words; the hosts are in a file.

        Every host gets its ssh at once (-f): commands that do not end would keep a further host
        waiting for ever. pdsh puts the host's name for %h: so an agent is told who it is.
        """
        ssh = common_login(launch.hosts, launch.ssh, self.name)
        names = [host.address for host in launch.hosts]
        for name in names:
            if ":" in name:
                raise InputError(f"--backend pdsh cannot name {name}: a host name is wanted")
        agent = ["exec", "/usr/bin/env", "PYTHONSAFEPATH=1"]
        agent += [*launch.command(_PLACE, addresses), "--tool", self.name]
        shell = " ".join(_word(word) for word in agent)
        argv = ["pdsh", "-S", "-R", "ssh", "-f", str(len(names))]
        argv += ["-t", str(math.ceil(ssh.connect_timeout)), "-u", "0"]
        argv += [*launch.backend_args, "-w", f"^{FOLDER}/hosts", shell]
        # Of two equal options ssh takes the first: what was asked, the user's, our defaults.
        # (pdsh's own -l is dropped where it is our own name, whatever ssh_config says.)
        extra = [_plain(word) for word in asked_words(ssh)]
        extra += [environ[_EXTRA]] if environ.get(_EXTRA) else []
        extra += default_words(ssh, key_exchange)
        return ToolCommand(
            tuple(argv), {_EXTRA: " ".join(extra)}, {"hosts": "".join(f"{n}\n" for n in names)}
        )

    def key_exchange(self, launch: Launch, environ: Mapping[str, str]) -> str:
        """See madrun.backends.tools.tool.Tool."""
        words = [*asked_words(launch.ssh), *environ.get(_EXTRA, "").split()]
        return quick_key_exchange(words, launch.hosts[0].address, environ)

    def accepts(self, path: str) -> bool:
        """Any pdsh."""
        return True


def _word(word: str) -> str:
    """A word for the remote shell; pdsh would put something else for %n and kin.

    >>> _word("/opt/100%n/py thon"), _word("host:%h")
    ("'/opt/100%%n/py thon'", 'host:%h')
    """
    return word if word == _PLACE else shlex.quote(_plain(word))


def _plain(word: str) -> str:
    return word.replace("%", "%%")


PDSH = Pdsh()
