"""A job in pods from its first object to its last, as the command that started it sees it.

Pod 0 coordinates the job, and reports its end; this is its terminal, and its lease. What only
Kubernetes knows (a pod without a node, an image that is not there, an eviction) is said here.
"""

from __future__ import annotations

import signal
from collections.abc import Callable

from madrun.agent.standalone.credential import SharedKey
from madrun.agent.standalone.pod_job import KEY_FILE
from madrun.backends.base import WholeJob
from madrun.backends.kubernetes.api import Api, ApiError, Object
from madrun.backends.kubernetes.cluster_job import ClusterJob
from madrun.backends.kubernetes.keys import LOG
from madrun.backends.kubernetes.link import Link
from madrun.backends.kubernetes.log_stream import LogStream, last_lines
from madrun.backends.kubernetes.manifests import JOB_LABEL, PodJob
from madrun.backends.kubernetes.pod_set import PodSet
from madrun.backends.kubernetes.pods import PodPhase, PodState
from madrun.backends.kubernetes.reach import Reach
from madrun.backends.kubernetes.request import section_of
from madrun.backends.kubernetes.terminal import Terminal
from madrun.backends.kubernetes.verdict import (
    REMOVED,
    Verdict,
    coordinator_ended,
    not_reached,
    not_started,
    of_interest,
    stopped,
    without_coordinator,
)
from madrun.backends.kubernetes.watch import Watch
from madrun.system.errors import ClusterError
from madrun.system.exits import FAILED
from madrun.system.loop import Timer
from madrun.system.signals import HOLD_OUTPUT, RELEASE_OUTPUT, follow_signals

_LAST_FRAME = 6.0  # seconds for the end of the coordinator to come, once its pod has ended
_STATUS_LIMIT = 3.0  # seconds for Kubernetes to say what it knows of a pod that has ended
_END_ALLOWANCE = 25.0  # seconds beyond the grace
_GONE_ALLOWANCE = 20.0  # seconds beyond the grace for all objects to be gone
_SETTLED = 2.0  # seconds until a volume that cannot be mounted is worth a word


class JobInPods:
    """``run`` makes the job, follows it to its end, and removes it."""

    def __init__(self, whole: WholeJob, job: PodJob, api: Api) -> None:
        self._whole, self._job, self._api, self._loop = whole, job, api, whole.loop
        self._detach = whole.request.kubernetes.detach
        self._cluster_job = ClusterJob(api, job)
        self._terminal = Terminal(whole, self._loop)
        self._pods = PodSet(job.nnodes)
        self._said: set[str] = set()
        self._watches: list[Watch] = []
        self._link: Link | None = None
        self._log: LogStream | None = None
        self._reach = Reach(self._loop, self._ask_for_pods, self._lost)
        self._runs = False  # the workers have been started
        self._verdict: Verdict | None = None
        self._stopped_by = 0
        self._timers: list[Timer] = []
        self._waits_for_ends = False
        self._removing = self._job_is_gone = self._deleted = self._is_settled = False
        self._first_ended = False

    def run(self) -> int:
        """Until the job is over and its objects are gone; returns its exit status."""
        self._loop.watch(self._whole.guard_fd, self._guard_gone)
        follow_signals(self._loop, self._stop, self._pass_on)
        self._loop.on_signal(HOLD_OUTPUT, lambda _number: self._terminal.hold(True))
        self._loop.on_signal(RELEASE_OUTPUT, lambda _number: self._terminal.hold(False))
        with self._terminal:
            for note in self._whole.notes:
                self._terminal.note(note)
            try:
                self._cluster_job.create()
                self._follow()
                self._later(_SETTLED, self._settle)
                self._loop.run()
            except ClusterError as error:
                self._decide(Verdict(FAILED, str(error)))
            return self._conclude()

    # ---- the start

    def _follow(self) -> None:
        name = self._job.names.job
        self._terminal.note(f"Kubernetes job {name} in the namespace {self._api.namespace}")
        selector = {"labelSelector": f"{JOB_LABEL}={name}"}
        self._watch("v1", "pods", selector, self._pod_changed)
        self._watch(
            "batch/v1", "jobs", {"fieldSelector": f"metadata.name={name}"}, self._job_changed
        )
        self._watch("v1", "events", {}, self._event)
        self._later(self._whole.spec.limits.launch, self._launch_is_late)

    def _watch(
        self, group: str, resource: str, query: dict[str, str],
        on_change: Callable[[Object, bool], None],
    ) -> None:  # fmt: skip
        def changed(content: Object, gone: bool) -> None:
            self._loop.post(lambda: on_change(content, gone))

        def refused(error: ApiError) -> None:
            self._loop.post(lambda: self._refused(str(error)))

        watch = Watch(self._api, self._api.path(group, resource), query, changed, refused)
        self._watches.append(watch)
        watch.start()

    def _refused(self, reason: str) -> None:
        """The API server tells nothing more; a job that is heard of needs nothing of it."""
        if self._runs and self._reach.is_up:
            self._say_once(reason)
        else:
            self._decide(Verdict(FAILED, reason))

    def _later(self, delay: float, callback: Callable[[], None]) -> None:
        self._timers.append(self._loop.call_later(delay, callback))

    # ---- what Kubernetes tells

    def _pod_changed(self, content: Object, gone: bool) -> None:
        pod = self._pods.take(content, gone)
        if pod is None:
            return
        if self._verdict is not None:
            self._check_waits()
            return
        if not self._runs and pod.words and pod.phase is not PodPhase.ENDED:
            # What keeps many pods waiting is said of the first one.
            self._say_once(f"{self._host(pod.node_rank)}: {pod.words}", key=pod.words)
        if pod.node_rank == 0:
            self._coordinator_changed(pod, gone)
        elif self._pods.first is not None and self._log is None:
            self._coordinator_changed(self._pods.first, gone=False)
        if not self._runs and pod.hopeless:
            self._not_started()
        elif not self._runs and pod.phase is PodPhase.ENDED:
            self._ended_early()
        self._check_detached()

    def _ended_early(self) -> None:
        """Pod 0 tells how a short job ended, where it lives: its word may be on the way."""
        first = self._pods.first
        told = first is not None and first.phase is PodPhase.RUNNING and not self._detach
        if self._reach.has_been_up or told:
            self._later(_LAST_FRAME, self._not_started_after_all)
        elif not self._detach or self._pods.any_failed:
            self._not_started()

    def _not_started_after_all(self) -> None:
        if self._verdict is None and not self._runs:
            self._not_started()

    def _coordinator_changed(self, pod: PodState, gone: bool) -> None:
        begun = pod.phase in (PodPhase.RUNNING, PodPhase.ENDED)
        if self._job.settings.channel == LOG and not self._detach:
            if begun and self._log is None and (self._pods.all_have_run or self._runs):
                self._follow_log(pod)
            return
        if pod.phase is PodPhase.RUNNING and self._link is None and not self._detach:
            self._link = Link(
                lambda: self._api.forward(pod.name, self._job.names.ports()[1]),
                SharedKey("pod", self._job.secret[KEY_FILE]),
                self._whole.spec.job_id,
                self._terminal.frame_taker(self._over, self._state_of_job),
                lambda up, reason: self._loop.post(lambda: self._reach.link_is(up, reason)),
            )
            self._terminal.attach(self._link)
            self._link.start()
        if (pod.phase is PodPhase.ENDED or gone) and self._runs and not self._first_ended:
            self._first_ended = True
            self._later(_LAST_FRAME, self._coordinator_is_gone)

    def _follow_log(self, pod: PodState) -> None:
        """Instead of a link: what pod 0 writes is the job's output, and its status the job's."""
        self._runs = True
        self._log = LogStream(
            self._api,
            pod.name,
            self._terminal.show,
            lambda: self._loop.post(self._log_has_ended),
            lambda: self._pods.first is None or self._pods.first.phase is PodPhase.ENDED,
        )
        self._log.start()

    def _log_has_ended(self) -> None:
        first = self._pods.first
        assert first is not None
        told = first.status is not None and first.reason in ("Completed", "Error")
        verdict = (
            Verdict(first.status or 0) if told else coordinator_ended(first, self._host(0), ())
        )
        self._decide(verdict)

    def _coordinator_is_gone(self) -> None:
        first = self._pods.first
        assert first is not None
        self._decide(coordinator_ended(first, self._host(0), last_lines(self._api, first.name)))

    def _job_changed(self, content: Object, gone: bool) -> None:
        if content["metadata"].get("uid") != self._cluster_job.owner["metadata"]["uid"]:
            return
        self._job_is_gone = self._job_is_gone or gone
        if self._verdict is not None:
            self._check_waits()
        elif (gone or content["metadata"].get("deletionTimestamp")) and not self._deleted:
            # The pods are told to end, and pod 0 reports it.
            self._deleted = True
            limit = self._whole.spec.limits.grace + _LAST_FRAME if self._runs else 0.0
            self._later(limit, lambda: self._decide(REMOVED))

    def _event(self, content: Object, gone: bool) -> None:
        """What no pod's status tells: a volume that is not there, a pod that may not be made."""
        involved, name = content.get("involvedObject") or {}, self._job.names.job
        about = str(involved.get("name", ""))
        if self._verdict is not None or self._runs or content.get("type") != "Warning":
            return
        if about != name and not about.startswith(f"{name}-"):
            return
        if content.get("reason") == "FailedMount" and not self._is_settled:
            return  # the Job comes first, and what its pods mount belongs to it
        if content.get("reason") in ("FailedCreate", "FailedMount"):
            message = " ".join(str(content.get("message", "")).split())
            where = about.rpartition("-")[0] if about != name else name
            self._say_once(
                f"{where}: {content['reason']}: {message}", key=f"{where} {content['reason']}"
            )

    def _settle(self) -> None:
        self._is_settled = True

    # ---- what pod 0 tells

    def _ask_for_pods(self) -> None:
        """Their state as it is now; raises ClusterError."""
        query = {"labelSelector": f"{JOB_LABEL}={self._job.names.job}"}
        found = self._api.request("GET", self._api.path("v1", "pods"), query=query)
        for each in found.get("items") or ():
            self._pod_changed(each, gone=False)

    def _lost(self) -> None:
        if self._verdict is None:
            self._decide(without_coordinator(self._pods.first, self._host(0)))

    def _state_of_job(self, state: str) -> None:
        self._runs = self._runs or state in ("starting", "running", "ending", "over")

    def _over(self, status: int) -> None:
        self._decide(Verdict(status))

    # ---- what the user and the clock tell

    def _stop(self, number: int) -> None:
        first = not self._stopped_by
        self._stopped_by = self._stopped_by or number
        if self._removing:
            self._loop.stop()  # nobody waits any more for what is being removed
        elif self._link is None or not self._reach.has_been_up:
            self._decide(stopped(self._stopped_by))
        else:
            self._link.signal(number)
            if first:
                limit = self._whole.spec.limits.grace + _END_ALLOWANCE
                self._later(limit, lambda: self._decide(stopped(number)))

    def _pass_on(self, number: int) -> None:
        if self._link is not None:
            self._link.signal(number)

    def _guard_gone(self) -> None:
        self._loop.unwatch(self._whole.guard_fd)
        self._stop(signal.SIGTERM)

    def _launch_is_late(self) -> None:
        told = self._pods.all_run and self._reach.has_been_up  # then it is pod 0's to say
        if self._verdict is None and not self._runs and not told:
            self._not_started()

    def _not_started(self) -> None:
        if self._pods.all_run and self._link is not None and not self._reach.has_been_up:
            self._decide(not_reached(self._host(0), self._reach.problem))
            return
        limit = self._whole.spec.limits.launch
        hosts = [self._host(index) for index in range(self._job.nnodes)]
        pods = self._pods.by_rank
        ended = {rank: pod for rank, pod in pods.items() if pod.phase is PodPhase.ENDED}
        logs = {rank: last_lines(self._api, pod.name) for rank, pod in ended.items()}
        self._decide(not_started(hosts, pods, limit, logs))

    def _check_detached(self) -> None:
        if self._detach and self._verdict is None and self._pods.all_have_run:
            self._verdict = Verdict(0)
            self._loop.stop()

    # ---- the end

    def _decide(self, verdict: Verdict) -> None:
        if self._verdict is None:
            self._verdict = verdict
            self._loop.stop()

    def _conclude(self) -> int:
        verdict = self._verdict
        assert verdict is not None
        if self._detach and not verdict.status:
            self._terminal.announce(self._job.names.job)
            self._close()
            return 0
        self._terminal.conclude(verdict)
        stays = "ttl_seconds_after_finished" in section_of(self._whole.request)
        if self._runs and (stays or verdict.status) and not self._stopped_by:
            self._wait_for_ends()
        if self._deleted:
            name = self._job.names.job
            self._terminal.say(f"Kubernetes: the job {name} was deleted by somebody")
        for line in [*of_interest(self._pods.by_rank.values(), self._host), *self._where()]:
            self._terminal.say(line)
        if not (stays and self._pods.all_ended):  # else Kubernetes removes it
            self._remove()
        self._close()
        return verdict.status

    def _where(self) -> list[str]:
        """On which node the worker ran that failed first."""
        if self._terminal.failed_rank is None:
            return []
        workers = self._whole.spec.world.nodes[0].local_world_size
        pod = self._pods.by_rank.get(self._terminal.failed_rank // workers)
        if pod is None or not pod.node:
            return []
        return [f"Kubernetes: pod {self._host(pod.node_rank)} ran on node {pod.node}"]

    def _wait_for_ends(self) -> None:
        """Kubernetes knows why a pod has ended a second or two after it."""
        if not self._pods.all_ended:
            self._waits_for_ends = True
            timer = self._loop.call_later(_STATUS_LIMIT, self._loop.stop)
            self._loop.run()
            timer.cancel()
            self._waits_for_ends = False

    def _remove(self) -> None:
        try:
            if not self._cluster_job.delete():
                return
            if not self._watches:
                return
            self._removing = True
            limit = self._whole.spec.limits.grace + _GONE_ALLOWANCE
            timer = self._loop.call_later(limit, self._loop.stop)
            self._check_waits()
            self._loop.run()
            timer.cancel()
        except ClusterError as error:
            self._terminal.say(f"the job {self._job.names.job} could not be removed: {error}")
            return
        if not self._job_is_gone:
            there = ", ".join(self._pods.names_there)
            pods = f", with the pods {there}" if there else ""
            name, space = self._job.names.job, self._api.namespace
            shown = f"kubectl -n {space} get pods -l {JOB_LABEL}={name}"
            self._terminal.say(f"still there: the job {name}{pods} ({shown})")

    def _check_waits(self) -> None:
        known = self._waits_for_ends and self._pods.all_ended
        if known or (self._removing and self._job_is_gone):
            self._loop.stop()

    def _close(self) -> None:
        for watch in self._watches:
            watch.close()
        for channel in (self._link, self._log):
            if channel is not None:
                channel.close()

    # ---- words

    def _host(self, index: int) -> str:
        return self._job.names.pod_host(index)

    def _say_once(self, text: str, key: str = "") -> None:
        if (key or text) not in self._said:
            self._said.add(key or text)
            self._terminal.note(text)
