"""One worker process: fork, make it the leader of its own session, exec.

Between fork and exec the child gets its own session, a parent-death signal, its cores, its
streams and nothing else: no descriptor of ours or of the launcher above us leaks into it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from collections.abc import Mapping, Sequence

from madrun.system.kernel import die_with_parent
from madrun.system.open_files import give_back_limit
from madrun.system.signals import reset_signals

_MAX_FD = 65536


def spawn(
    path: str,
    argv: Sequence[str],
    env: Mapping[str, str],
    workdir: str,
    streams: tuple[int, int, int],
    cores: Sequence[int] = (),
) -> int:
    """Start a program; returns its process id once exec has succeeded.

    ``streams`` are descriptors for its stdin, stdout and stderr; ``cores`` the CPUs it may use
    (empty: as we may). Call it from the main thread: the parent-death signal follows the thread.
    Raises OSError naming the program that could not be executed, or the folder that could not be
    entered, and ValueError for a value with a NUL byte.
    """
    if "\0" in "".join((*argv, *env, *env.values())):
        raise ValueError("a NUL byte in an argument or in the environment")
    error_read, error_write = os.pipe2(os.O_CLOEXEC)
    agent = os.getpid()
    pid = os.fork()
    if pid == 0:
        try:
            _become(path, argv, env, workdir, (*streams, error_write), cores, agent)
        except OSError as error:
            at_folder = error.filename == workdir
            os.write(3, struct.pack("i?", error.errno or errno.EIO, at_folder))
        finally:
            os._exit(127)
    os.close(error_write)
    with open(error_read, "rb") as pipe:
        report = pipe.read()
    if report:
        os.waitpid(pid, 0)
        number, at_folder = struct.unpack("i?", report[: struct.calcsize("i?")])
        raise OSError(number, os.strerror(number), workdir if at_folder else path)
    return pid


def _become(
    path: str,
    argv: Sequence[str],
    env: Mapping[str, str],
    workdir: str,
    descriptors: tuple[int, int, int, int],
    cores: Sequence[int],
    agent: int,
) -> None:
    # Descriptor 3 carries an error to the agent and closes at exec. First lift all four out of
    # the way: one of them may itself be 0, 1, 2 or 3.
    lifted = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 4) for fd in descriptors]
    for target, fd in enumerate(lifted):
        os.dup2(fd, target, inheritable=target < 3)
    os.setsid()
    die_with_parent(agent)
    os.closerange(4, _MAX_FD)
    give_back_limit()
    if cores:
        os.sched_setaffinity(0, cores)
    reset_signals()  # Python ignores SIGPIPE, for one, and so may whoever has started us
    os.chdir(workdir)
    os.execve(path, list(argv), dict(env))
