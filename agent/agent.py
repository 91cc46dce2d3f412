"""The agent: makes one node ready, starts its workers, watches them, ends them.

It is driven by messages and tells what happens in messages; whether those cross a network (a
runner elsewhere), a function call (a one-node job) or stay on the node (an agent by hand) is
not its business. Everything runs on the loop of the thread that created the agent.
"""

from __future__ import annotations

import enum
import signal
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial

from madrun.agent.diagnosis import Diagnosis
from madrun.agent.input import Inputs
from madrun.agent.master import MasterPort
from madrun.agent.output import Outflow, Pauses, Stream
from madrun.agent.readiness import Ready, make_ready, worker_environment
from madrun.agent.tree import Ending, load_psutil, reaped
from madrun.agent.worker import Worker
from madrun.launchers.registry import planner
from madrun.wire.errors import MadrunError
from madrun.wire.input import input_ranks
from madrun.wire.jobspec import JobSpec, shown_ranks
from madrun.wire.kernel import become_subreaper
from madrun.wire.loop import Loop
from madrun.wire.messages import (
    Begin,
    Bye,
    CheckIn,
    End,
    Exited,
    Finished,
    Go,
    Input,
    Interrupted,
    MasterTried,
    Message,
    OutputTaken,
    Signal,
    Started,
    TryMaster,
)

_FLUSH_LIMIT = 3.0  # seconds for a slow console at the end
_BYE_LIMIT = 5.0
_TRY_LIMIT = 5.0
_QUIET = 0.5  # seconds after the start: then nobody waits for us, and short jobs are over


class Phase(enum.Enum):
    """Where the agent stands; it only ever moves downwards."""

    WAITING = "waiting for the job spec"
    READY = "ready"
    RUNNING = "running"
    ENDING = "ending"
    FINISHED = "finished"


class Agent:
    """One node of one job: ``send`` takes our messages, ``on_gone()`` is called at the end."""

    def __init__(
        self,
        loop: Loop,
        node_rank: int,
        send: Callable[[Message], None],
        on_gone: Callable[[], None],
        environ: Mapping[str, str],
    ) -> None:
        become_subreaper()
        self._loop, self._node_rank = loop, node_rank
        self._send, self._on_gone = send, on_gone
        self._environ = environ
        self._phase = Phase.WAITING
        self._spec: JobSpec | None = None
        self._ready: Ready | None = None
        self._diagnosis: Diagnosis | None = None
        self._master: MasterPort | None = None
        self._workers: dict[int, Worker] = {}
        self._outflow = Outflow(send)
        self._pauses = Pauses(loop)
        self._inputs = Inputs(loop, send)
        self._ending = Ending(loop, self._ended)
        self._left: tuple[str, ...] = ()
        self._alone = False
        loop.on_signal(signal.SIGCHLD, lambda _number: self.reap())

    def receive(self, message: Message) -> None:
        """Do what the runner says; what does not fit the phase is left undone."""
        match message:
            case Begin(spec) if self._phase is Phase.WAITING:
                self._begin(spec)
            case TryMaster(addresses, port) if self._phase is Phase.READY:
                self._try_master(addresses, port)
            case Go(address, port) if self._phase is Phase.READY:
                self._go(address, port)
            case End(grace, _):
                self.end(grace)
            case Signal(number):
                self.signal_workers(number)
            case Input(rank, data):
                self._inputs.put(rank, data)
            case OutputTaken(size):
                self._outflow.taken(size)
                self._finish_when_flushed()
            case Bye() if self._phase is Phase.FINISHED:
                self._on_gone()
            case _:
                return

    def interrupt(self, number: int) -> None:
        """A signal told this agent to stop: end here, and tell the runner to end everywhere."""
        if self._phase is not Phase.FINISHED:
            self._send(Interrupted(number))
        self.end(self._grace)

    def abandon(self) -> None:
        """The runner is gone: end the workers, wait for nobody."""
        if self._phase is Phase.FINISHED:
            self._on_gone()
            return
        self._alone = True
        self.end(self._grace)

    def end(self, grace: float) -> None:
        """End every process of the job on this node: TERM, grace, KILL."""
        if self._phase is Phase.FINISHED:
            return
        self._phase = Phase.ENDING
        if self._master is not None:
            self._master.release()
        self._ending.begin(grace)

    def signal_workers(self, number: int) -> None:
        """Send a signal to each worker; nothing ends because of it."""
        for worker in self._workers.values():
            worker.signal(number)

    def reap(self) -> None:
        """Take note of every child that has ended, workers and adopted orphans alike."""
        gone = [(self._workers[pid], status) for pid, status in reaped() if pid in self._workers]
        at, ended = time.monotonic(), self._phase is Phase.ENDING
        for worker, status in gone:
            self._inputs.close(worker.plan.rank)
            self._send(self._explained(worker.exited(status, at, ended)))
        if gone and self._phase is Phase.RUNNING:
            failed = any(status != 0 for _, status in gone)
            if failed or all(worker.status is not None for worker in self._workers.values()):
                self.end(self._grace)
        if self._phase is Phase.ENDING:
            self._ending.check()

    @property
    def _grace(self) -> float:
        return self._spec.grace if self._spec else 0.0

    def _begin(self, spec: JobSpec) -> None:
        self._spec = spec
        try:
            self._ready = make_ready(spec, self._node_rank, self._environ)
            if self._node_rank == 0:
                self._master = MasterPort(spec.master_port)
        except MadrunError as error:
            self._send(CheckIn(problem=str(error), status=error.exit_status))
            return
        self._phase = Phase.READY
        facts = self._ready.facts
        port = self._master.port if self._master else 0
        self._send(CheckIn(vendor=facts.vendor, devices=facts.devices, port=port))

    def _try_master(self, addresses: tuple[str, ...], port: int) -> None:
        from madrun.wire.reach import first_reachable

        def attempt() -> None:
            address, problem = first_reachable(addresses, port, _TRY_LIMIT)
            self._loop.post(lambda: self._send(MasterTried(address, problem)))

        # A thread, because connecting can block; nothing is forked while it runs.
        threading.Thread(target=attempt, name="try-master", daemon=True).start()

    def _go(self, master_addr: str, master_port: int) -> None:
        assert self._spec is not None
        assert self._ready is not None
        if self._master is not None:
            self._master.release()
        self._phase = Phase.RUNNING
        facts = self._ready.facts
        plan = planner(self._spec.launcher)(
            self._spec, self._node_rank, master_addr, master_port, facts
        )
        shown = shown_ranks(self._spec.output, self._spec.world.world_size)
        reading = input_ranks(self._spec.stdin, self._spec.world.world_size)
        self._diagnosis = Diagnosis(self._spec.workdir, self._spec.log_dir, self._environ)
        for process in plan.processes:
            if not facts.devices:  # slots of a job on the CPU are no devices
                process = process._replace(device="")
            cores = self._ready.cores[process.local_rank] if self._ready.cores else ()
            env = worker_environment(self._ready.base_env, process.env, self._spec.env, process.cwd)
            self._diagnosis.prepare(env, process.rank)
            try:
                worker = Worker(
                    process,
                    env,
                    self._outflow if process.rank in shown else None,
                    self._spec.log_dir,
                    cores,
                    takes_input=process.rank in reading,
                )
            except (OSError, ValueError, MadrunError) as error:
                self._could_not_start(process.rank, error)
                return
            self._workers[worker.pid] = worker
            if worker.stdin >= 0:
                self._inputs.open(process.rank, worker.stdin)
            for stream in worker.streams:
                self._loop.watch(stream.fd, partial(self._read, stream))
        self._send(Started(tuple(self._workers)))
        self._diagnosis.begin()
        self._loop.call_later(_QUIET, load_psutil)
        self._loop.call_later(_QUIET, self._diagnosis.preload)

    def _could_not_start(self, rank: int, error: Exception) -> None:
        status = error.exit_status if isinstance(error, MadrunError) else 126
        at = time.monotonic()
        self._send(Exited(rank, 0, status, at, ended=False, note=f"not started: {error}"))
        self.end(self._grace)

    def _explained(self, exited: Exited) -> Exited:
        """With its cause, if it failed by itself; a worker that we ended needs none."""
        if exited.status == 0 or exited.ended or self._diagnosis is None:
            return exited
        return exited._replace(cause=self._diagnosis.cause(exited))

    def _read(self, stream: Stream) -> None:
        if not stream.read():
            self._loop.unwatch(stream.fd)
            stream.flush()
        elif stream.unfinished:
            self._pauses.heard(stream)

    def _ended(self, left: tuple[str, ...]) -> None:
        """Nothing runs here any more; what the workers wrote may still be under way."""
        self._left = left
        if self._diagnosis is not None:
            self._diagnosis.close()
        for worker in self._workers.values():
            for stream in worker.streams:
                stream.drain()
                stream.flush()
        if self._alone:
            self._phase = Phase.FINISHED
            self._on_gone()
            return
        self._loop.call_later(_FLUSH_LIMIT, self._finish)
        self._finish_when_flushed()

    def _finish_when_flushed(self) -> None:
        if self._phase is Phase.ENDING and self._ending.over and self._outflow.empty:
            self._finish()

    def _finish(self) -> None:
        if self._phase is Phase.FINISHED:
            return
        self._phase = Phase.FINISHED
        self._outflow.abandon()
        self._send(Finished(self._left))
        self._loop.call_later(_BYE_LIMIT, self._on_gone)
