"""The job spec: everything an agent needs to know of the job besides its place in the World."""

from __future__ import annotations

import re
from typing import NamedTuple

from madrun.hosts.world import World
from madrun.options.spec_groups import EXEC as EXEC
from madrun.options.spec_groups import MODULE as MODULE
from madrun.options.spec_groups import PYTHON as PYTHON
from madrun.options.spec_groups import Limits, Master, Workers
from madrun.system.errors import InputError

_RANKS = r"([0-9]{1,9})(?:-([0-9]{1,9}))?"
_NONE: dict[str, str] = {}  # nobody adds to it
_OUTPUTS = "allowed are all, first, none, or ranks as 0,3-5"


class JobSpec(NamedTuple):
    """One launch, as data: argv, working directory and environment travel byte for byte.

    Strings hold what the operating system gave (surrogate escapes for bytes that are no UTF-8).
    The groups are those of the options; the rest is made of what the user said.
    ``log_dir`` may be empty; one that is ``log_dir_optional`` was not asked for, and a node that
    cannot have it does without. ``log_limit`` are the bytes beyond which a log file keeps only its
    beginning and its end (0: no limit). ``keep_jobs`` is how many records of jobs are kept beside
    it (empty: the default).
    ``options`` are the launcher's own, by the names of its config section; a list is JSON.
    ``client`` is what runs against a server once it is ready (empty: nothing).
    """

    job_id: str
    world: World
    argv: tuple[str, ...]
    mode: str = PYTHON
    launcher: str = "native"
    python: str = "python3"
    workdir: str = ""
    env: dict[str, str] = _NONE
    master: Master = Master()
    workers: Workers = Workers()
    limits: Limits = Limits()
    log_dir: str = ""
    log_dir_optional: bool = False
    log_limit: int = 0
    keep_jobs: str = ""
    output: str = "all"
    stdin: str = "none"
    restart_count: int = 0
    options: dict[str, str] = _NONE
    client: tuple[str, ...] = ()


def shown_ranks(output: str, count: int, noun: str = "ranks") -> frozenset[int]:
    """The ranks whose output reaches the console, from ``all``, ``first``, ``none`` or a list.

    There are ``count`` of them; ``noun`` is what the user calls them.

    >>> sorted(shown_ranks("0,3-5", 8))
    [0, 3, 4, 5]

    Raises InputError for any other text and for a rank that is not there.
    """
    named = {"all": range(count), "first": range(1), "none": range(0)}
    if output in named:
        return frozenset(named[output])
    ranks: set[int] = set()
    for item in output.split(","):
        found = re.fullmatch(_RANKS, item)
        if found is None:
            raise InputError(f"--output {output[:80]!r}: {_OUTPUTS}")
        low, high = int(found[1]), int(found[2] or found[1])
        if not low <= high < count:
            raise InputError(f"--output {output!r}: the {noun} of this job are 0-{count - 1}")
        ranks.update(range(low, high + 1))
    return frozenset(ranks)
