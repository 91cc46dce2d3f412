"""The way to a host: its jump hosts in their order, and then itself."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from functools import lru_cache

from madrun.backends.ssh.settings import (
    Asked,
    Settings,
    Target,
    home,
    jump_hosts,
    parse_settings,
    target_of,
)
from madrun.backends.ssh.ssh_config import read_settings
from madrun.system.errors import ClusterError

_MOST_HOPS = 16
_ASK_LIMIT = 30.0  # seconds; CanonicalizeHostname may look names up
_asking = threading.BoundedSemaphore(8)  # more would only wait for a CPU, with descriptors open


def find_route(name: str, asked: Asked) -> tuple[Target, ...]:
    """The hosts to log in to one through the other; the last one is the one that is meant.

    As ssh does it: the first jump host may have jump hosts of its own; those after it are
    reached through the one before, whatever their own configuration says. User, port and key
    that were asked for are the last host's only. Raises ClusterError.
    """
    return _route(name, asked, 0)


def settings_of(name: str, asked: Asked) -> Settings:
    """What ssh's configuration files say of a host; raises ClusterError.

    ssh itself is asked; where that program is not installed its files are read here, and what is
    not understood is refused. Where there is no such file nobody has to be asked.
    """
    files = (os.path.join(home(), ".ssh/config"), "/etc/ssh/ssh_config")
    if not any(map(os.path.exists, files)):
        return {}
    if _ssh_program():
        return parse_settings(_ask_ssh(name, asked))
    return read_settings(name, asked, files)


def _route(name: str, asked: Asked, hops: int) -> tuple[Target, ...]:
    target = target_of(name, asked, settings_of(name, asked))
    if not target.proxy_jump:
        return (target,)
    before: tuple[Target, ...] = ()
    for hop, hop_asked in jump_hosts(target.proxy_jump):
        hops += 1
        if hops > _MOST_HOPS:
            raise ClusterError(f"ssh_config: more than {_MOST_HOPS} jump hosts to {name}: a loop?")
        hop_asked = hop_asked._replace(accept_new=asked.accept_new)
        if before:
            found = target_of(hop, hop_asked, settings_of(hop, hop_asked))
            before += (found._replace(proxy_jump="", proxy_command=""),)
        else:
            before = _route(hop, hop_asked, hops)
    return (*before, target._replace(proxy_jump=""))


@lru_cache(maxsize=1)
def _ssh_program() -> str | None:
    return shutil.which("ssh")


def _ask_ssh(name: str, asked: Asked) -> str:
    argv = [_ssh_program() or "ssh", "-G"]
    argv += ["-l", asked.user] if asked.user else []
    argv += ["-p", str(asked.port)] if asked.port else []
    try:
        with _asking:
            done = subprocess.run(
                [*argv, "--", name],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_ASK_LIMIT,
                check=False,
            )
    except (OSError, subprocess.SubprocessError) as error:
        raise ClusterError(f"ssh_config: ssh cannot be asked: {error}") from None
    if done.returncode:
        words = done.stderr.decode(errors="replace").strip().splitlines()
        said = [line for line in words if " line " in line] or words or ["ssh -G failed"]
        raise ClusterError(f"ssh_config: {said[0]}")
    return done.stdout.decode(errors="surrogateescape")
