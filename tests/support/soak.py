"""One round of scripts/soak: a job, one fault, and what may come of it.

Everything random of a round comes from its name, ``SEED/NUMBER``: the same name makes the same
choices again, though not at the same instant.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from subprocess import Popen, TimeoutExpired

from madrun.system.signals import ENDING, sent_as
from support import orphans
from support.cluster import BIN, Cluster
from support.faults import guard_and_core
from support.jobs import WORKER
from support.programs import signals_of
from support.slurm import GPUS
from testbed.processes import Process, children

FATAL = (
    *[signal.SIGKILL] * 6, signal.SIGTERM, signal.SIGTERM, signal.SIGINT, signal.SIGHUP,
    signal.SIGQUIT, signal.SIGXCPU, signal.SIGSTOP, signal.SIGUSR1,
)  # fmt: skip
RUNNING = 0.6  # of the faults come once all workers are up, the others during the start
FAULT_WITHIN = 2.0  # seconds after the start of the job, or after its workers are up
LIVES_ON = 1.0  # seconds after the fault; then the job is told to end
AGAIN = 0.5  # seconds after a first ending signal was taken
AWAY = 3.0  # seconds of a Ctrl-Z: longer than the heartbeat timeout
PATIENCE = 40.0  # seconds until nothing may be left: leases and graces are far shorter
LIMITS = ("--grace", "0.5", "--heartbeat-timeout", "2", "--launch-timeout", "15")
WAYS = ("ssh", "pdsh", "mpich", "srun", "local")
TOOLS = {"pdsh", "mpiexec.hydra", "hydra_pmi_proxy", "srun", "ssh", "slurmstepd"}


@dataclass
class Round:
    """One job with one fault; ``complaints`` says what was wrong."""

    cluster: Cluster
    name: str
    way: str
    chance: random.Random
    process: Popen[str] = field(init=False)
    oracle: orphans.Oracle = field(init=False)
    words: list[str] = field(default_factory=list)
    hit: str = "nothing"
    fault: str = ""
    told: bool = False
    killed_by_hand: bool = False
    allowed: set[int] = field(default_factory=set)
    wanted: tuple[str, ...] = ()
    _held: list[int] = field(default_factory=list)

    @classmethod
    def named(cls, cluster: Cluster, name: str, ways: tuple[str, ...] = WAYS) -> Round:
        """The round of this name."""
        chance = random.Random(name)
        return cls(cluster, name, chance.choice(ways), chance)

    @property
    def said(self) -> str:
        """What the job wrote to its stderr."""
        return self._file("err").read_text(errors="replace")

    def run(self) -> list[str]:
        """The whole round; returns what was wrong."""
        self.oracle = orphans.Oracle.now(self.cluster)
        faults, weights = zip(*FAULTS, strict=True)
        fault = self.chance.choices(faults, weights)[0]
        self.fault = fault.__name__
        logs = self._full_fifos() if fault is Round.hang_logs else ()
        self._start(logs)
        if self.chance.random() < RUNNING:
            self._wait_until_up()
        time.sleep(self.chance.uniform(0, FAULT_WITHIN))
        fault(self)
        with contextlib.suppress(TimeoutExpired):
            self.process.wait(LIVES_ON)
        self._tell_to_end()
        complaints = self._ended()
        self.oracle.clean()
        return complaints

    # ---- faults

    def strike(self) -> None:
        """A random signal to a random process of the job."""
        there = self._there()
        if not there:
            self._no_effect("nothing was there yet")
            return
        target = self.chance.choice(there)
        self._send(target, self.chance.choice(FATAL))
        self._expect(target, kind_of(target))

    def kill_pair(self) -> None:
        """SIGKILL to two at once: a guard and its core, or the runner's core and an agent's."""
        there = self._there()
        groups = {
            name: [each for each in there if kind_of(each) == name] for name in ("runner", "agent")
        }
        host = self.chance.choice(sorted({each.host for each in groups["agent"]} or {""}))
        of_agent = guard_and_core([each for each in groups["agent"] if each.host == host])
        runner = guard_and_core(groups["runner"])
        pair = self.chance.choice([of_agent, runner, runner[1:] + of_agent[1:]])
        for each in pair:
            self._send(each, signal.SIGKILL)
        self.hit = "SIGKILL to " + " and ".join(f"{each!s:.140}" for each in pair)
        self.killed_by_hand = any(kind_of(each) == "runner" for each in pair)
        self.allowed = {125, 137, 143}

    def suspend(self) -> None:
        """Ctrl-Z: the job goes on when it is continued, whoever waits for how long."""
        for number, pause in ((signal.SIGTSTP, AWAY), (signal.SIGCONT, 0.0)):
            with contextlib.suppress(ProcessLookupError):
                self.cluster.signal(self.process, number)
            time.sleep(pause)
        self._no_effect("Ctrl-Z for a while")

    def insist(self) -> None:
        """Two ending signals, half a second apart; of two that wait, nobody knows the first."""
        self._until(self._runner)
        pair = [self.chance.choice((signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)) for _ in "12"]
        for number in pair:
            with contextlib.suppress(ProcessLookupError):
                self.cluster.signal(self.process, number)
            self._until(self._has_taken_all)
            time.sleep(AGAIN)
        self.hit = " and ".join(each.name for each in pair)
        self.allowed = {128 + pair[0]}

    def hang_logs(self) -> None:
        """The log files take nothing: the job ends all the same."""
        self._no_effect("log files that hang")

    # ---- steps

    def _start(self, more: tuple[str, ...]) -> None:
        self.words = [word for word in ("daemons", "ignore-term") if self.chance.random() < 0.5]
        hosts = ",".join(f"{host}:2" for host in self.cluster.hosts)
        place = ("--hosts", "localhost:4" if self.way == "local" else hosts)
        argv = [str(BIN / "madrun"), "--backend", self.way, *LIMITS, *place, *more]
        env = allocated(self.cluster) if self.way == "srun" else None
        if env:
            argv = [each for each in argv if each not in place]
        with self._file("out").open("w") as out, self._file("err").open("w") as err:
            argv = [*argv, str(WORKER), "hold", *self.words]
            self.process = self.cluster.popen("head", argv, env=env, stdout=out, stderr=err)
        # Ours to wait for: the oracle would take its exit status.
        ours = {each for each in children(os.getpid()) if each.outer_pid == self.process.pid}
        self.oracle = replace(self.oracle, known=self.oracle.known | ours)

    def _wait_until_up(self) -> None:
        count = 4 if self.way == "local" else 2 * len(self.cluster.hosts)
        deadline = time.monotonic() + PATIENCE
        while self.process.poll() is None and time.monotonic() < deadline:
            if self._file("out").read_text().count("up ") >= count:
                return
            time.sleep(0.05)

    def _file(self, name: str) -> Path:
        return self.cluster.share / f"soak.{name}"

    def _full_fifos(self) -> tuple[str, ...]:
        """A log folder whose files are FIFOs that nobody reads."""
        folder = self.cluster.share / f"logs-{self.name.replace('/', '-')}"
        folder.mkdir(mode=0o700, exist_ok=True)
        for rank in range(8):
            for stream in ("out", "err"):
                path = folder / f"rank{rank:04d}.{stream}"
                os.mkfifo(path)
                reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
                writer = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
                with contextlib.suppress(BlockingIOError):
                    while True:
                        os.write(writer, b"x" * 4096)
                self._held += [reader, writer]
        return ("--log-dir", str(folder))

    def _there(self) -> list[Process]:
        found = [each for each in self.oracle.newcomers() if each.host != "here"]
        runner = [each for each in found if kind_of(each) == "runner"]
        if not any(signal.SIGTERM in signals_of(each.outer_pid, "SigBlk") for each in runner):
            # Before the first line of our code a signal does what it does to Python.
            found = [each for each in found if each not in runner]
        # What greets a login is sshd's own, and who waits for it as well.
        return [each for each in found if each.state not in "ZT" and "motd" not in each.cmdline]

    def _send(self, target: Process, number: int) -> None:
        self.hit = f"{signal.Signals(number).name} to {target!s:.140}"
        with contextlib.suppress(ProcessLookupError):
            os.kill(target.outer_pid, number)

    def _until(self, look: Callable[[], object]) -> None:
        deadline = time.monotonic() + PATIENCE
        while self.process.poll() is None and not look() and time.monotonic() < deadline:
            time.sleep(0.01)

    def _runner(self) -> list[Process]:
        return [each for each in self._there() if kind_of(each) == "runner"]

    def _has_taken_all(self) -> bool:
        """Whether no ending signal waits for the runner."""
        waiting = [signals_of(each.outer_pid, "ShdPnd") for each in self._runner()]
        return not any(sent_as(number) in ENDING for numbers in waiting for number in numbers)

    def _no_effect(self, hit: str) -> None:
        """The job lives on, until it is told to end."""
        self.hit, self.allowed = hit, {143}

    def _expect(self, target: Process, kind: str) -> None:
        number = signal.Signals[self.hit.split()[0]]
        as_signal = 128 + number
        if number == signal.SIGSTOP:
            self.allowed = {143, 125}  # an agent or tool that is stopped for too long is lost
            self.killed_by_hand = kind == "runner"
        elif kind == "runner":
            self.killed_by_hand = number == signal.SIGKILL
            self.allowed = {125, 137} if self.killed_by_hand else {as_signal}
            if number == signal.SIGUSR1:
                self.allowed = {143}
        elif kind == "worker":
            # Python that is still at its imports makes of a SIGINT an exception, and ends with 1.
            self.allowed = {143, as_signal, 1 if number == signal.SIGINT else as_signal}
        elif kind == "worker's child":
            self.allowed = {143}
        elif kind == "agent":
            self.allowed = {125, as_signal, 143}
            if number != signal.SIGUSR1:
                self.wanted = (target.host,)
        else:
            self.allowed = {125, 143, as_signal, 137}

    def _tell_to_end(self) -> None:
        if self.process.poll() is not None:
            return
        self.told = True
        with contextlib.suppress(ProcessLookupError):
            self.cluster.signal(self.process, signal.SIGCONT)
            self.cluster.signal(self.process, signal.SIGTERM)

    def _ended(self) -> list[str]:
        deadline = time.monotonic() + PATIENCE
        wrong = []
        try:
            status = self.process.wait(PATIENCE)
        except TimeoutExpired:
            wrong.append("does not end")
            status = None
        # What we stopped cannot end; everything else has to. Continued, it must not go on.
        while left := [each for each in self.oracle.newcomers() if each.state != "T"]:
            if time.monotonic() > deadline:
                break
            time.sleep(0.02)
        wrong += [f"left behind: {each!s:.140}" for each in left]
        for each in self.oracle.newcomers():
            os.kill(each.outer_pid, signal.SIGCONT)
        wrong += [
            f"goes on after it was stopped: {each!s:.140}" for each in self.oracle.survivors()
        ]
        for fd in self._held:
            os.close(fd)
        if status is None:
            self.process.kill()
            self.process.wait()
            return wrong
        return wrong + self.misjudged(status, self.said)

    def misjudged(self, status: int, said: str) -> list[str]:
        """What is wrong with an exit status and a report."""
        wrong = []
        if re.search(r"^Traceback", said, re.MULTILINE):
            wrong.append("a traceback of ours")
        status = 128 - status if status < 0 else status
        if status not in self.allowed | ({143} if self.told else set()):
            wrong.append(f"status {status}, allowed are {sorted(self.allowed)}")
        if status == 125 and not self.killed_by_hand:
            wrong += [f"{name} is not named" for name in self.wanted if name not in said]
            if "madrun: " not in said:
                wrong.append("no report")
        # The last words of an agent that was signalled are quoted as what they are.
        if status == 125 and re.search(r"(?<!madagent: )stopped by SIG", said):
            wrong.append("a fault is told as the user's signal")
        return wrong


def allocated(cluster: Cluster) -> dict[str, str]:
    """The variables of an allocation of all hosts, which is made where there is none."""
    ask = ["squeue", "-h", "-t", "RUNNING", "-o", "%i"]
    if not (found := cluster.run("head", ask, check=True).stdout.split()):
        count = f"-N{len(cluster.hosts)}"
        cluster.run("head", ["salloc", "--quiet", "--no-shell", count, GPUS], check=True)
        found = cluster.run("head", ask, check=True).stdout.split()
    count, names = str(len(cluster.hosts)), ",".join(cluster.hosts)
    return {
        "SLURM_JOB_ID": found[0], "SLURM_JOB_NODELIST": names, "SLURM_NODELIST": names,
        "SLURM_NNODES": count, "SLURM_JOB_NUM_NODES": count,
        "SLURM_JOB_CPUS_PER_NODE": f"1(x{count})", "SLURM_TASKS_PER_NODE": f"1(x{count})",
    }  # fmt: skip


FAULTS: tuple[tuple[Callable[[Round], None], int], ...] = (
    (Round.strike, 60),
    (Round.kill_pair, 12),
    (Round.suspend, 6),
    (Round.insist, 12),
    (Round.hang_logs, 10),
)


def kind_of(process: Process) -> str:
    """What a process of a job is."""
    line = process.cmdline
    name = os.path.basename(process.argv[0]) if process.argv else ""
    if name in TOOLS or name.startswith(("sshd", "slurm")):
        return name.rstrip(":")
    if "madrun.agent" in line:
        return "agent"
    if "bin/madrun" in line:
        return "runner"
    if "worker.py" in line:
        return "worker"
    return "worker's child" if name == "sleep" else name or "another"
