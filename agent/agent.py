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
from typing import TYPE_CHECKING

from madrun.agent.gloo_interface import GlooInterface
from madrun.agent.master_port import MasterPort
from madrun.agent.ordered_end import OrderedEnd
from madrun.agent.planned_files import PlannedFiles
from madrun.agent.readiness import Ready, make_ready
from madrun.agent.startup_sequence import EndEffect, StartupSequence, as_failure
from madrun.agent.tree import Ending, load_psutil, reaped
from madrun.agent.worker import Worker
from madrun.agent.worker_set import WorkerSet
from madrun.launchers.launcher import NodeContext
from madrun.launchers.plan import WORKER, ProcessPlan
from madrun.launchers.registry import find
from madrun.system.errors import MadrunError
from madrun.system.exits import FAILED
from madrun.system.guard_notes import GRACE_NOTE, leave_note
from madrun.system.kernel import become_subreaper
from madrun.system.loop import Loop
from madrun.system.open_files import raise_limit
from madrun.wire.jobspec import JobSpec
from madrun.wire.messages import (
    LAST,
    Begin,
    Bye,
    CheckIn,
    Concluded,
    End,
    Exited,
    ExitKind,
    Finished,
    Go,
    Input,
    Interrupted,
    MasterTried,
    Message,
    OutputCredit,
    Serving,
    Signal,
    Started,
    StartedLater,
    TryMaster,
)

if TYPE_CHECKING:
    from madrun.agent.ports import Ports

_FLUSH_LIMIT = 3.0  # seconds for a slow console at the end
_BYE_LIMIT = 30.0  # a connection that loses packets may need long; a runner that is gone is noticed
_QUIET = 0.5  # seconds after the start: then nobody waits for us, and short jobs are over


class AgentState(enum.Enum):
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
        raise_limit()
        self._loop, self._node_rank = loop, node_rank
        self._send, self._on_gone = send, on_gone
        self._environ = environ
        self._state = AgentState.WAITING
        self._spec: JobSpec | None = None
        self._ready: Ready | None = None
        self._gloo: GlooInterface | None = None
        self._master: MasterPort | None = None
        self._ports: Ports | None = None
        self._files: PlannedFiles | None = None
        self._startup: StartupSequence | None = None
        self._started = False
        self._worker_set = WorkerSet(loop, send)
        self._ending = Ending(loop, self._ended)
        self._ordered_end = OrderedEnd(loop, self._ending, self._worker_set.workers, send)
        self._left: tuple[str, ...] = ()
        self._alone = self._interrupted = False
        loop.on_signal(signal.SIGCHLD, lambda _number: self.reap())

    def receive(self, message: Message) -> None:
        """Do what the runner says; what does not fit the phase is left undone."""
        match message:
            case Begin(spec) if self._state is AgentState.WAITING:
                self._begin(spec)
            case TryMaster(addresses, port) if self._state is AgentState.READY:
                self._try_master(addresses, port)
            case Go() if self._state is AgentState.READY:
                self._go(message)
            case End(grace, _, upto, first):
                self.end(grace, upto, first)
            case Signal(number):
                self.signal_workers(number)
            case Input(rank, data):
                self._worker_set.inputs.put(rank, data)
            case OutputCredit(size):
                self._worker_set.outflow.taken(size)
                self._finish_when_flushed()
            case Bye() if self._state is AgentState.FINISHED:
                self._on_gone()
            case _:
                return

    def take_place(self, node_rank: int) -> None:
        """Learn the node rank late, with the job spec, from the name of this host."""
        self._node_rank = node_rank

    def interrupt(self, number: int, by_parent: bool = False) -> None:
        """A signal told this agent to stop: end here, and tell the runner to end everywhere.

        The second one means at once. SIGKILL is what our guard died of, and no wish. ``by_parent``:
        what had started this agent has sent it.
        """
        at_once = self._interrupted and number != signal.SIGKILL
        self._interrupted = self._interrupted or number != signal.SIGKILL
        if self._state is not AgentState.FINISHED:
            self._send(Interrupted(number, at_once, by_parent))
        first = signal.SIGINT if number == signal.SIGINT else signal.SIGTERM
        self.end(0.0 if at_once else self._grace, first=first)

    def abandon(self) -> None:
        """The runner is gone: end the workers, wait for nobody."""
        if self._state is AgentState.FINISHED:
            self._on_gone()
            return
        self._alone = True
        self.end(self._grace)

    def end(self, grace: float, upto: int = LAST, first: int = signal.SIGTERM) -> None:
        """End every process of the job on this node: ``first``, TERM, grace, KILL.

        Those whose stop order is above ``upto`` are left alone until they are named too.
        """
        if self._state is AgentState.RUNNING:
            self.reap()  # who has ended by now has ended by itself
        if self._state is AgentState.FINISHED:
            return
        self._state = AgentState.ENDING
        if self._startup is not None:
            self._startup.close()
        self._let_go_of_ports()
        self._ordered_end.end(grace, upto, first)

    def signal_workers(self, number: int) -> None:
        """Send a signal to each worker; nothing ends because of it."""
        self._worker_set.signal(number)

    def reap(self) -> None:
        """Take note of every child that has ended, workers and adopted orphans alike."""
        workers = self._worker_set.workers
        gone = [(workers[pid], status) for pid, status in reaped() if pid in workers]
        at, ended = time.monotonic(), self._state is AgentState.ENDING
        for worker, status in gone:
            self._worker_set.inputs.close(worker.plan.rank)
            exited = self._judged(worker.exited(status, at, ended), worker.plan)
            self._send(self._worker_set.explained(exited))
            if not ended:
                self._what_now(worker, exited.status, at)
        if self._state is AgentState.ENDING:
            self._ending.check()
            self._ordered_end.check()

    def _judged(self, exited: Exited, process: ProcessPlan) -> Exited:
        """A status of 0 that is no success is made a failure."""
        exited = as_failure(exited, process)
        starts_workers = process.kind == WORKER and process.role != WORKER
        if exited.status or exited.ended or not starts_workers:
            return exited
        from madrun.agent.diagnosis.orphaned_workers import success_or_not

        return success_or_not(exited, self._worker_set.workers)

    def _what_now(self, worker: Worker, status: int, at: float) -> None:
        """A worker has ended by itself."""
        assert self._startup is not None
        match self._startup.ended(worker.plan, status):
            case EndEffect.FAILED | EndEffect.DONE:
                self.end(self._grace)
            case EndEffect.CONCLUDED:
                self._send(Concluded(worker.plan.rank, at))

    @property
    def _grace(self) -> float:
        return self._spec.limits.grace if self._spec else 0.0

    def _begin(self, spec: JobSpec) -> None:
        self._spec = spec
        leave_note(GRACE_NOTE, str(spec.limits.grace))
        try:
            self._ready = make_ready(spec, self._node_rank, self._environ)
            if self._node_rank == 0:
                self._master = MasterPort(spec.master.port)
            self._hold_ports(spec)
        except MadrunError as error:
            self._send(CheckIn(problem=str(error), status=error.exit_status))
            return
        if len(spec.world.nodes) > 1 and not spec.master.interface:
            self._gloo = GlooInterface()
        self._state = AgentState.READY
        facts = self._ready.facts
        port = self._master.port if self._master else 0
        trouble, ports = self._ready.log_trouble, self._ports.numbers if self._ports else ()
        self._send(CheckIn("", 0, facts.vendor, facts.devices, port, trouble, ports, facts.cores))

    def _hold_ports(self, spec: JobSpec) -> None:
        wishes = find(spec.launcher).ports(spec, self._node_rank)
        if wishes:
            from madrun.agent.ports import Ports

            self._ports = Ports(wishes)

    def _let_go_of_ports(self) -> None:
        for held in (self._master, self._ports):
            if held is not None:
                held.release()

    def _try_master(self, addresses: tuple[str, ...], port: int) -> None:
        from madrun.hosts.reach import first_reachable

        assert self._spec is not None
        limit = self._spec.limits.launch / 2  # so that there is time left to say what failed

        def attempt() -> None:
            address, problem = first_reachable(addresses, port, limit)
            self._loop.post(lambda: self._send(MasterTried(address, problem)))

        # A thread, because connecting can block; nothing is forked while it runs.
        threading.Thread(target=attempt, name="try-master", daemon=True).start()

    def _go(self, go: Go) -> None:
        assert self._spec is not None
        assert self._ready is not None
        self._let_go_of_ports()
        self._state = AgentState.RUNNING
        make_plan = find(self._spec.launcher).plan
        context = NodeContext(
            self._spec, self._node_rank, go.master_addr, go.master_port, self._ready.facts
        )
        try:
            if go.addresses:
                from madrun.agent.ports import peers_of

                context = context._replace(peers=peers_of(go))
            plan = make_plan(context)
        except MadrunError as error:
            plan = make_plan(context._replace(master_addr="", master_port=0, peers=()))
            self._could_not_start(plan.processes[0].rank, error)
            return
        try:
            self._files = PlannedFiles(plan)
        except OSError as error:
            self._could_not_start(plan.processes[0].rank, error)
            return
        plan = self._files.filled(plan)
        self._worker_set.prepare(self._spec, self._with_gloo(go), self._environ)
        self._startup = StartupSequence(self._loop, plan, self._spec.limits.ready, self)
        self._startup.begin()
        if self._state is not AgentState.RUNNING:  # one could not be started
            return
        pids = {worker.plan.rank: pid for pid, worker in self._worker_set.workers.items()}
        self._send(Started(tuple(pids.get(each.rank, 0) for each in plan.processes)))
        self._started = True
        self._loop.call_later(_QUIET, load_psutil)
        self._loop.call_later(_QUIET, self._tend_logs)
        if self._worker_set.diagnosis is not None:
            self._worker_set.diagnosis.begin()
            self._loop.call_later(_QUIET, self._worker_set.diagnosis.preload)

    def _tend_logs(self) -> None:
        spec = self._spec
        if spec is not None and spec.log_dir_optional and self._ready and self._ready.log_dir:
            from madrun.record.pruning import tend_logs
            from madrun.record.retention import retention

            tend_logs(spec.log_dir, retention(spec.keep_jobs))

    # ---- Listener of the startup sequence

    def start(self, process: ProcessPlan) -> bool:
        """See madrun.agent.startup_sequence.Listener."""
        try:
            worker = self._worker_set.start(process)
        except (OSError, ValueError, MadrunError) as error:
            self._could_not_start(process.rank, error)
            return False
        if self._started:
            self._send(StartedLater(process.rank, worker.pid))
        return True

    def is_ready(self, url: str) -> None:
        """See madrun.agent.startup_sequence.Listener."""
        self._send(Serving(url))

    def is_late(self, process: ProcessPlan, kind: ExitKind, reason: str) -> None:
        """See madrun.agent.startup_sequence.Listener."""
        at, worker = time.monotonic(), self._worker_set.of_rank(process.rank)
        nothing = Exited(process.rank, 0, FAILED, at, ended=False)
        exited = worker.last_words(FAILED, at) if worker else nothing
        self._send(exited._replace(kind=kind, words=reason))
        self.end(self._grace)

    def _with_gloo(self, go: Go) -> Ready:
        assert self._spec is not None
        assert self._ready is not None
        base = self._ready.base_env
        if self._gloo is None:
            return self._ready
        ours = self._gloo.environment(go.master_addr, {**base, **self._spec.env})
        return self._ready._replace(base_env={**base, **ours})

    def _could_not_start(self, rank: int, error: Exception) -> None:
        status = error.exit_status if isinstance(error, MadrunError) else 126
        exited = Exited(rank, 0, status, time.monotonic(), ended=False)
        words = f"not started: {error}"
        self._send(exited._replace(kind=ExitKind.NOT_STARTED, words=words))
        self.end(self._grace)

    def _ended(self, left: tuple[str, ...]) -> None:
        """Nothing runs here any more; what the workers wrote may still be under way."""
        self._left = left
        self._worker_set.close()
        if self._files is not None:
            self._files.remove()
        if self._alone:
            self._state = AgentState.FINISHED
            self._on_gone()
            return
        self._loop.call_later(_FLUSH_LIMIT, self._finish)
        self._finish_when_flushed()

    def _finish_when_flushed(self) -> None:
        if (
            self._state is AgentState.ENDING
            and self._ending.over
            and self._worker_set.outflow.empty
        ):
            self._finish()

    def _finish(self) -> None:
        if self._state is AgentState.FINISHED:
            return
        self._state = AgentState.FINISHED
        self._worker_set.outflow.abandon()
        self._send(Finished(self._left))
        self._loop.call_later(_BYE_LIMIT, self._on_gone)
