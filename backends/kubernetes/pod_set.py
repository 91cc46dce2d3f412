"""The pods of one job, as far as they are known: the first one of each place counts."""

from __future__ import annotations

from collections.abc import Iterable

from madrun.backends.kubernetes.api import Object
from madrun.backends.kubernetes.pods import PodPhase, PodState, state_of


class PodSet:
    """Told of every change; ``size`` is how many pods there are to be."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._pods: dict[int, PodState] = {}
        self._gone: set[str] = set()

    def take(self, content: Object, gone: bool) -> PodState | None:
        """The state that an object tells; None for a pod that replaces one of this job.

        Kubernetes replaces what it took away itself, and this job ends.
        """
        pod = state_of(content)
        known = self._pods.get(pod.node_rank)
        if known is not None and known.uid != pod.uid:
            return None
        self._pods[pod.node_rank] = pod
        if gone:
            self._gone.add(pod.uid)
        return pod

    @property
    def by_rank(self) -> dict[int, PodState]:
        """The pods by node rank, in this order."""
        return dict(sorted(self._pods.items()))

    @property
    def first(self) -> PodState | None:
        """Pod 0."""
        return self._pods.get(0)

    @property
    def names_there(self) -> list[str]:
        """The pods that have not been said to be gone."""
        return sorted(pod.name for pod in self._pods.values() if pod.uid not in self._gone)

    @property
    def all_run(self) -> bool:
        """Whether each runs."""
        return self._all(pod.phase is PodPhase.RUNNING for pod in self._pods.values())

    @property
    def all_have_run(self) -> bool:
        """Whether each runs, or has gone well."""
        return self._all(
            pod.phase is PodPhase.RUNNING or (pod.phase is PodPhase.ENDED and pod.status == 0)
            for pod in self._pods.values()
        )

    @property
    def all_ended(self) -> bool:
        """Whether each has ended."""
        return self._all(pod.phase is PodPhase.ENDED for pod in self._pods.values())

    @property
    def any_failed(self) -> bool:
        """Whether one has ended with another status than 0."""
        return any(pod.phase is PodPhase.ENDED and pod.status for pod in self._pods.values())

    def _all(self, answers: Iterable[bool]) -> bool:
        return len(self._pods) == self._size and all(answers)
