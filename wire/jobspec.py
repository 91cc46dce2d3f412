"""The job spec: everything an agent needs to know of the job besides its place in the World."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from madrun.wire.errors import InputError
from madrun.wire.world import World

_RANKS = re.compile(r"([0-9]{1,9})(?:-([0-9]{1,9}))?")
_OUTPUTS = "allowed are all, first, none, or ranks as 0,3-5"

# How the program is run: by the Python interpreter, as a module, or as it is.
PYTHON, MODULE, EXEC = "python", "module", "exec"


@dataclass(frozen=True, slots=True)
class JobSpec:
    """One launch, as data: argv, working directory and environment travel byte for byte.

    Strings hold what the operating system gave (surrogate escapes for bytes that are no UTF-8).
    Times are seconds. ``master_port`` 0 and an empty ``master_addr`` mean: chosen at the start.
    ``options`` are the launcher's own, by the names of its config section; a list is JSON.
    """

    job_id: str
    world: World
    argv: tuple[str, ...]
    mode: str = PYTHON
    launcher: str = "native"
    python: str = "python3"
    workdir: str = ""
    env: dict[str, str] = field(default_factory=dict)
    master_addr: str = ""
    master_port: int = 0
    device_binding: str = "node"
    bind_cores: bool = False
    core_list: str = ""
    local_rank_arg: bool = False
    log_dir: str = ""
    output: str = "all"
    stdin: str = "none"
    grace: float = 15.0
    heartbeat_timeout: float = 5.0
    restart_count: int = 0
    options: dict[str, str] = field(default_factory=dict)


def shown_ranks(output: str, world_size: int) -> frozenset[int]:
    """The ranks whose output reaches the console, from ``all``, ``first``, ``none`` or a list.

    >>> sorted(shown_ranks("0,3-5", 8))
    [0, 3, 4, 5]

    Raises InputError for any other text and for a rank that the world has not.
    """
    named = {"all": range(world_size), "first": range(1), "none": range(0)}
    if output in named:
        return frozenset(named[output])
    ranks: set[int] = set()
    for item in output.split(","):
        found = _RANKS.fullmatch(item)
        if found is None:
            raise InputError(f"--output {output[:80]!r}: {_OUTPUTS}")
        low, high = int(found[1]), int(found[2] or found[1])
        if not low <= high < world_size:
            raise InputError(f"--output {output!r}: the ranks of this job are 0-{world_size - 1}")
        ranks.update(range(low, high + 1))
    return frozenset(ranks)
