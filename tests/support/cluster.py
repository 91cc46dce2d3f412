"""The hosts as tests use them: run and signal processes there, break and mend hosts."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from support.programs import PATIENCE
from testbed import cgroups, processes, state
from testbed.kernel import SYSTEM_PATH

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from subprocess import CompletedProcess, Popen

    from testbed.processes import Process

    File = int | IO[Any] | None

REPOSITORY = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
TESTBED = str(REPOSITORY / "scripts" / "testbed")
LOGIN = {
    "PATH": SYSTEM_PATH,
    "HOME": "/root",
    "USER": "root",
    "LOGNAME": "root",
    "SHELL": "/bin/bash",
    "LANG": "C.UTF-8",
}
WRAPPERS = 12  # words before the program in what `_enter` returns


class Cluster:
    """Hosts that are up, under one folder that has the same path in all of them.

    >>> cluster.run("node01", ["hostname"]).stdout      # doctest: +SKIP
    'node01\\n'
    """

    def __init__(self, base: Path) -> None:
        self.base = base
        self.share = base / "share"
        self.shrc = base / "shrc"  # the hosts' .bashrc; write into it, do not replace it
        self.ssh_config = base / "ssh_config"

    @property
    def state(self) -> state.Cluster:
        """What the testbed has written down."""
        return state.load(str(self.base))

    @property
    def hosts(self) -> list[str]:
        """The nodes, without the head."""
        return self.state.nodes()

    # -- running things ----------------------------------------------------------------------

    def popen(
        self,
        host: str,
        argv: Sequence[str | os.PathLike[str]],
        *,
        env: Mapping[str, str] | None = None,
        cwd: str | os.PathLike[str] = "/root",
        stdin: File = subprocess.DEVNULL,
        stdout: File = subprocess.PIPE,
        stderr: File = subprocess.PIPE,
    ) -> Popen[str]:
        """Start a program in a host, as a login there would: own session, clean environment.

        What is returned is the `nsenter` that waits for the program and ends as it does. It passes
        no signals on: use `signal`.
        """
        return subprocess.Popen(
            self._enter(host, argv, cwd),
            env=self._environment({"MADRUN_JOB_DIR": str(self.base / "jobs"), **(env or {})}),
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
            encoding="utf-8",
            errors="surrogateescape",
        )

    def run(
        self,
        host: str,
        argv: Sequence[str | os.PathLike[str]],
        *,
        timeout: float = PATIENCE,
        env: Mapping[str, str] | None = None,
        input: str | None = None,
        cwd: str | os.PathLike[str] = "/root",
        check: bool = False,
    ) -> CompletedProcess[str]:
        """Run a program in a host to its end; after TIMEOUT it is killed, and that is an error.

        Its end is also that of its output: who holds it open is waited for.
        """
        stdin = subprocess.DEVNULL if input is None else subprocess.PIPE
        process = self.popen(host, argv, env=env, cwd=cwd, stdin=stdin)
        with process:
            try:
                stdout, stderr = process.communicate(input, timeout)
            except BaseException:
                self._end(process)
                raise
        done = subprocess.CompletedProcess(list(argv), process.returncode, stdout, stderr)
        if check:
            done.check_returncode()
        return done

    def run_bytes(
        self,
        host: str,
        argv: Sequence[str | os.PathLike[str]],
        *,
        timeout: float = PATIENCE,
        env: Mapping[str, str] | None = None,
        input: bytes | None = None,
        cwd: str | os.PathLike[str] = "/root",
    ) -> CompletedProcess[bytes]:
        """`run`, byte for byte."""
        with (
            tempfile.TemporaryFile() as stdin,
            tempfile.TemporaryFile() as out,
            tempfile.TemporaryFile() as err,
        ):
            stdin.write(input or b"")
            stdin.seek(0)
            process = self.popen(host, argv, env=env, cwd=cwd, stdin=stdin, stdout=out, stderr=err)
            try:
                process.wait(timeout)
            except BaseException:
                self._end(process)
                raise
            for file in (out, err):
                file.seek(0)
            return subprocess.CompletedProcess(
                list(argv), process.returncode, out.read(), err.read()
            )

    def madrun(
        self, *args: str | os.PathLike[str], host: str = "head", **kwargs: Any
    ) -> CompletedProcess[str]:
        """Run `madrun ARGS` on a host; keywords as for `run`."""
        return self.run(host, [BIN / "madrun", *args], **kwargs)

    def _enter(
        self, host: str, argv: Sequence[str | os.PathLike[str]], cwd: str | os.PathLike[str]
    ) -> list[str]:
        cluster = self.state
        enter = ["nsenter", "-t", str(cluster.host(host).pid), "-a"]
        there = ["env", "-C", os.fspath(cwd), "setsid", *(os.fspath(word) for word in argv)]
        return cgroups.joining(cluster.host_cgroup(host), *enter, *there)

    @staticmethod
    def _environment(extra: Mapping[str, str] | None) -> dict[str, str]:
        coverage = {key: value for key, value in os.environ.items() if key.startswith("COVERAGE_")}
        return {**LOGIN, **coverage, **(extra or {})}

    # -- signals -----------------------------------------------------------------------------

    def process(self, popen: Popen[Any]) -> Process:
        """The program that a `popen` of ours runs: its pid in the host, its pid outside."""
        end = time.monotonic() + 10
        wrappers = {tuple(popen.args[i:]) for i in range(WRAPPERS)}  # type: ignore[index]
        while popen.poll() is None and time.monotonic() < end:
            for child in processes.descendants(popen.pid):
                if child.ppid == 0 and child.argv not in wrappers:
                    return child
            time.sleep(0.002)
        raise ProcessLookupError(f"{popen.args!r} has ended or did not start")

    def inner_pid(self, popen: Popen[Any]) -> int:
        """The pid of a program started by `popen`, as its host sees it."""
        return self.process(popen).pid

    def outer_pid(self, popen: Popen[Any]) -> int:
        """The pid of a program started by `popen`, as we see it."""
        return self.process(popen).outer_pid

    def signal(self, popen: Popen[Any], number: int) -> None:
        """Send a signal to the program itself."""
        os.kill(self.outer_pid(popen), number)
        if number in (signal.SIGKILL, signal.SIGCONT):  # nsenter stops when its program does
            popen.send_signal(signal.SIGCONT)

    def _end(self, popen: Popen[Any]) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.signal(popen, signal.SIGKILL)
        popen.kill()
        popen.wait()

    def processes(self, host: str | None = None) -> list[Process]:
        """What runs on one host or all, seen from outside; with init and sshd."""
        cluster = self.state
        wanted = [each for each in cluster.hosts.values() if host in (None, each.name)]
        return [found for each in wanted if each.alive() for found in cluster.processes(each)]

    # -- faults ------------------------------------------------------------------------------

    def testbed(self, verb: str, *args: str) -> None:
        """One verb of scripts/testbed."""
        testbed(self.base, verb, *args)

    def kill(self, *hosts: str, crash: bool = False) -> None:
        """Power loss; with `crash`, the peers see their connections end."""
        self.testbed("kill", *hosts, *(["--crash"] if crash else []))

    def start(self, *hosts: str) -> None:
        """Boot dead hosts again."""
        self.testbed("start", *hosts)

    def freeze(self, *hosts: str) -> None:
        """Hang hosts."""
        self.testbed("freeze", *hosts)

    def thaw(self, *hosts: str) -> None:
        """End a `freeze`."""
        self.testbed("thaw", *hosts)

    def partition(self, host: str, peer: str = "", *, oneway: bool = False) -> None:
        """Cut a host off from all others, or from one; one way: what HOST sends is lost."""
        self.testbed("partition", host, *filter(None, [peer]), *(["--oneway"] if oneway else []))

    def heal(self, host: str, peer: str = "") -> None:
        """End the partitions of a host, or the one with a peer."""
        self.testbed("heal", host, *filter(None, [peer]))

    def delay(self, host: str, time: str, *, loss: float = 0, jitter: str = "0") -> None:
        """Make the host's round trips longer, lose packets (percent); '0' ends it."""
        self.testbed("delay", host, time, "--loss", str(loss), "--jitter", jitter)

    def broken(self) -> list[str]:
        """What is not as it should be, a line each."""
        cluster = self.state
        found = [f"{sender} cannot send to {receiver}" for sender, receiver in cluster.drops]
        for name, host in cluster.hosts.items():
            if not host.alive():
                found.append(f"{name} is dead")
                continue
            if cgroups.is_frozen(cluster.host_cgroup(name)):
                found.append(f"{name} is frozen")
            found += [f"{name} is cut off"] if host.cut else []
            found += [f"{name} is delayed by {host.delay}"] if host.delay else []
        return found

    def restore(self) -> None:
        """Thaw, start and heal whatever needs it."""
        for name, host in self.state.hosts.items():
            if cgroups.is_frozen(self.state.host_cgroup(name)):
                self.thaw(name)
            if not host.alive():
                self.start(name)
            if host.delay and self.state.hosts[name].delay:
                self.delay(name, "0")
            cluster = self.state
            if cluster.hosts[name].cut or any(name in pair for pair in cluster.drops):
                self.heal(name)

    @contextlib.contextmanager
    def login_shell(self, text: str) -> Iterator[None]:
        """Let the shells of logins in the hosts run this first, for a while."""
        before = self.shrc.read_text()
        self.shrc.write_text(before + text)
        try:
            yield
        finally:
            self.shrc.write_text(before)

    # -- files -------------------------------------------------------------------------------

    def hostfile(self, slots: int = 2, hosts: Sequence[str] | None = None) -> Path:
        """A hostfile of all nodes, or of some, on the shared folder."""
        names = self.hosts if hosts is None else hosts
        path = self.share / f"hostfile-{'-'.join(names)}-{slots}"
        path.write_text("".join(f"{name} slots={slots}\n" for name in names))
        return path


def testbed(base: Path, verb: str, *args: str) -> None:
    """Run scripts/testbed; what it says on failure is the error."""
    argv = [sys.executable, TESTBED, verb, "--base", str(base), *args]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=PATIENCE, check=False)
    if done.returncode:
        raise RuntimeError(f"testbed {verb} {' '.join(args)}: {done.stderr.strip()}")


@contextlib.contextmanager
def brought_up(count: int = 4, *options: str) -> Iterator[Cluster]:
    """Hosts of our own, which are taken down even if we are killed."""
    base = Path(tempfile.mkdtemp(prefix="madrun-testbed-")).resolve()
    guard = _guard(base)
    try:
        testbed(base, "up", str(count), "--no-root", *options)
        cluster = Cluster(base)
        _measure_coverage(cluster)
        yield cluster
    finally:
        _, complaint = guard.communicate(timeout=PATIENCE)
    if guard.returncode:
        raise RuntimeError(f"testbed down: {complaint.strip()}")


def _guard(base: Path) -> Popen[str]:
    """A process that takes the hosts down when its input ends: when we say so, or are no more."""
    script = 'cat; exec "$@"'
    down = [sys.executable, TESTBED, "down", "--base", str(base)]
    return subprocess.Popen(
        ["sh", "-c", script, "guard", *down],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def _measure_coverage(cluster: Cluster) -> None:
    """Let logins through ssh be measured too, where this run is."""
    settings = {key: value for key, value in os.environ.items() if key.startswith("COVERAGE_PROC")}
    cluster.shrc.write_text("".join(f"export {key}='{settings[key]}'\n" for key in settings))
