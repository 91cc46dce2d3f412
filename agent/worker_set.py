"""The workers of one node: started, listened to, signalled. What their ends mean, others say."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from functools import partial

from madrun.agent.diagnosis.diagnosis import Diagnosis
from madrun.agent.input import Inputs
from madrun.agent.outflow import Outflow
from madrun.agent.output import Pauses, Stream
from madrun.agent.readiness import Ready, worker_environment
from madrun.agent.worker import Worker
from madrun.launchers.plan import WORKER, ProcessPlan
from madrun.launchers.process_table import process_table
from madrun.output.stdin import input_ranks
from madrun.system.loop import Loop
from madrun.wire.jobspec import JobSpec, shown_ranks
from madrun.wire.messages import Exited, Message

_DEBUGGER_LEFT = "bdb.BdbQuit"  # what breakpoint() raises at the end of stdin


class WorkerSet:
    """Workers by process id, and the ways to and from them."""

    def __init__(self, loop: Loop, send: Callable[[Message], None]) -> None:
        self._loop = loop
        self.workers: dict[int, Worker] = {}
        self.outflow = Outflow(send)
        self.inputs = Inputs(loop, send)
        self.diagnosis: Diagnosis | None = None
        self._pauses = Pauses(loop)
        self._spec: JobSpec | None = None
        self._ready: Ready | None = None
        self._shown: frozenset[int] = frozenset()
        self._reading: frozenset[int] = frozenset()

    def prepare(self, spec: JobSpec, ready: Ready, environ: Mapping[str, str]) -> None:
        """Everybody is able: workers may be started from now on."""
        self._spec, self._ready = spec, ready
        count = process_table(spec).size
        self._shown = shown_ranks(spec.output, count)
        self._reading = input_ranks(spec.stdin, count)
        self.diagnosis = Diagnosis(spec.workdir, ready.log_dir, environ)

    def start(self, process: ProcessPlan) -> Worker:
        """Start a worker; raises OSError, ValueError or MadrunError where that does not work."""
        spec, ready, diagnosis = self._spec, self._ready, self.diagnosis
        assert spec is not None
        assert ready is not None
        assert diagnosis is not None
        if not ready.facts.devices:  # slots of a job on the CPU are no devices
            process = process._replace(device="")
        env = worker_environment(ready.base_env, process.env, process.cwd, spec.python)
        diagnosis.prepare(env, process.rank)
        worker = Worker(
            process,
            env,
            self.outflow if process.rank in self._shown else None,
            ready.log_dir,
            self._cores(process),
            takes_input=process.rank in self._reading,
            must_log=not spec.log_dir_optional,
            log_limit=spec.log_limit,
        )
        self.workers[worker.pid] = worker
        if worker.stdin >= 0:
            self.inputs.open(process.rank, worker.stdin)
        for stream in worker.streams:
            self._loop.watch(stream.fd, partial(self._read, stream))
        return worker

    def of_rank(self, rank: int) -> Worker | None:
        """The worker with this number, where it has been started."""
        found = (worker for worker in self.workers.values() if worker.plan.rank == rank)
        return next(found, None)

    def signal(self, number: int) -> None:
        """Send a signal to each worker."""
        for worker in self.workers.values():
            worker.signal(number)

    def explained(self, exited: Exited) -> Exited:
        """With its cause; of a worker that we ended, with the exception that it had met before."""
        if exited.status == 0 or self.diagnosis is None:
            return exited
        if exited.ended:
            return exited._replace(cause=self.diagnosis.raised(exited))
        cause = self.diagnosis.cause(exited)
        if _DEBUGGER_LEFT in cause and exited.rank not in self._reading:
            cause = f"rank {exited.rank} has no stdin; see --stdin: {cause}"
        return exited._replace(cause=cause)

    def close(self) -> None:
        """Nobody runs any more: take what they wrote, and let go of everything."""
        if self.diagnosis is not None:
            self.diagnosis.close()
        for worker in self.workers.values():
            for stream in worker.streams:
                stream.drain()
                with contextlib.suppress(KeyError):  # its end was seen
                    self._loop.unwatch(stream.fd)
                stream.close()

    def _cores(self, process: ProcessPlan) -> tuple[int, ...]:
        """A worker's share of the node's cores; what is no worker of a slot has all of them."""
        assert self._ready is not None
        shares = self._ready.cores
        return shares[process.local_rank] if shares and process.kind == WORKER else ()

    def _read(self, stream: Stream) -> None:
        if not stream.read():
            self._loop.unwatch(stream.fd)
            stream.flush()
        elif stream.unfinished:
            self._pauses.heard(stream)
