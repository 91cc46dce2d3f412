"""What Python lacks: mount and unshare; and commands that have to succeed."""

from __future__ import annotations

import ctypes
import os
import subprocess

MS_NOSUID, MS_NODEV, MS_BIND, MS_MOVE, MS_REC, MS_PRIVATE = 2, 4, 4096, 8192, 16384, 1 << 18
NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWPID, NEWNET = (
    0x20000,
    0x2000000,
    0x4000000,
    0x8000000,
    0x20000000,
    0x40000000,
)
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

_libc = ctypes.CDLL(None, use_errno=True)


class TestbedError(Exception):
    """The testbed cannot do what was asked; the message says why."""

    __test__ = False  # pytest, this is no test


def _check(result: int, what: str) -> None:
    if result:
        errno = ctypes.get_errno()
        raise OSError(errno, f"{what}: {os.strerror(errno)}")


def mount(source: str, target: str, fs: str = "", flags: int = 0, data: str = "") -> None:
    """Mount SOURCE on TARGET; see mount(2)."""
    result = _libc.mount(
        os.fsencode(source),
        os.fsencode(target),
        os.fsencode(fs) or None,
        flags,
        os.fsencode(data) or None,
    )
    _check(result, f"mount {source} on {target}")


def bind(source: str, target: str, *, deep: bool = False) -> None:
    """Let SOURCE be seen at TARGET too."""
    mount(source, target, flags=MS_BIND | (MS_REC if deep else 0))


def unshare(flags: int) -> None:
    """Leave the namespaces named by FLAGS for new ones."""
    _check(_libc.unshare(flags), "unshare")


def set_hostname(name: str) -> None:
    """Name the UTS namespace we are in."""
    _check(_libc.sethostname(name.encode(), len(name)), "sethostname")


def command(*argv: str, stdin: str = "") -> str:
    """Run a command that has to succeed; its output is returned."""
    done = subprocess.run(argv, input=stdin, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr or done.stdout).strip()
        raise TestbedError(f"{' '.join(argv)}: {said or f'exit status {done.returncode}'}")
    return done.stdout
