"""Which tests one worker of pytest-xdist runs, one after another; the others run anywhere."""

from __future__ import annotations

import functools
from pathlib import Path

from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

ROOT = Path(__file__).resolve().parents[2]


class Groups(LoadScopeScheduling):  # type: ignore[misc]
    """Slurm is brought up once for a file, and one test at a time loads PyTorch.

    xdist's own groups are a mark, which it writes where pytest 9.2 does not read it any more.
    """

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        if Path(file).parent.name == "slurm":
            return file
        return "torch" if _loads_torch(file) else nodeid


@functools.cache
def _loads_torch(file: str) -> bool:
    return "mark.torch" in (ROOT / file).read_text(encoding="utf-8")
