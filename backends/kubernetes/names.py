"""Names in Kubernetes: of the job, its pods and its ports. Pure."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from typing import NamedTuple

from madrun.backends.kubernetes.keys import JOB, LEADERWORKERSET

# The name of a pod's host, NAME-INDEX, is a DNS label (63); the API server cuts the name of a pod,
# NAME-INDEX-xxxxx, at 63 as well. So much is left for the rest of both.
_LONGEST = 40
_FALLBACK = "job"
_FIRST_PORT, _PORTS = 20000, 5000  # below the ephemeral ones (32768 and up)
WORKER = "worker"  # the one replicated job of a JobSet


def job_name(program: Sequence[str], job_id: str) -> str:
    """A DNS label that tells the program, and is no other job's.

    >>> job_name(("Train_LLM v2.py",), "20261121-211200-abc123")
    'train-llm-v2-abc123'
    >>> len(job_name(("x" * 100,), "20261121-211200-abc123"))
    40
    >>> job_name(("2024.py",), "20261121-211200-abc123")
    'job-2024-abc123'
    """
    stem = program[0].rpartition("/")[2].removesuffix(".py").removesuffix(".sh") if program else ""
    plain = re.sub(r"[^a-z0-9]+", "-", stem.lower()).strip("-")
    if not plain or not plain[0].isalpha():
        plain = f"{_FALLBACK}-{plain}".strip("-")
    suffix = job_id.rpartition("-")[2]
    return f"{plain[: _LONGEST - len(suffix) - 1].rstrip('-')}-{suffix}"


class Names(NamedTuple):
    """What a job and its parts are called; ``kind`` is what makes its pods."""

    job: str
    kind: str = JOB

    @property
    def secret(self) -> str:
        """The Secret with the job's key and its spec."""
        return self.job

    @property
    def service(self) -> str:
        """The headless Service, and the subdomain of every pod."""
        return self.job

    @property
    def code(self) -> str:
        """The ConfigMap with what is shipped."""
        return f"{self.job}-code"

    def pod_host(self, node_rank: int) -> str:
        """The host name of a pod.

        >>> Names("train-abc123").pod_host(3)
        'train-abc123-3'
        >>> Names("train-abc123", "jobset").pod_host(3)
        'train-abc123-worker-0-3'
        >>> [Names("train-abc123", "leaderworkerset").pod_host(rank) for rank in (0, 2)]
        ['train-abc123-0', 'train-abc123-0-2']
        """
        if self.kind == JOB:
            return f"{self.job}-{node_rank}"
        if self.kind == LEADERWORKERSET:
            return f"{self.job}-0-{node_rank}" if node_rank else f"{self.job}-0"
        return f"{self.job}-{WORKER}-0-{node_rank}"

    def address(self, node_rank: int) -> str:
        """By which name the others reach a pod.

        >>> Names("train-abc123").address(0)
        'train-abc123-0.train-abc123'
        """
        return f"{self.pod_host(node_rank)}.{self.service}"

    def ports(self) -> tuple[int, int]:
        """Where the agents meet, and where pod 0 is attached to: other ones for each job.

        That counts only on the host's own network, where pods of several jobs share it.

        >>> Names("train-abc123").ports() == Names("train-abc123").ports()
        True
        """
        first = _FIRST_PORT + 2 * (zlib.crc32(self.job.encode()) % _PORTS)
        return first, first + 1
