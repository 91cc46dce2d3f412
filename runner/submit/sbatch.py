"""The batch script of ``--submit slurm``, as text: sbatch's options, variables, one srun."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from madrun.hosts.resources import HOSTFILE_VARIABLE
from madrun.system.errors import InputError

# Settings whose sbatch option has the same name, in the order of the script.
_OPTIONS = (
    "partition", "account", "qos", "reservation", "time", "gpus_per_node", "cpus_per_task", "mem",
    "constraint", "nodelist", "exclude", "mail_user", "mail_type",
)  # fmt: skip
_PLAIN = re.compile(r"[A-Za-z0-9_.,:=@%+/|&*()\[\]^~-]+")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_TRUE = "true"
# One agent on each node, which gets all that the job has there; its first failure is the step's
# end, whatever the site's KillOnBadExit. Agents end one after the other: no limit for the last.
_SRUN = (
    "srun", "--ntasks-per-node=1", "--kill-on-bad-exit=1", "--wait=0", "--cpu-bind=none",
    "--gpu-bind=none", "--mpi=none", "--input=none", "--export=ALL",
)  # fmt: skip


class Batch(NamedTuple):
    """What a batch script is made of.

    ``settings`` are those of the section ``slurm`` of a config file, as text; ``output`` is the
    log's path, ``%j`` in it the job's number; ``words`` are sbatch's own further options, ``env``
    what the workers get beyond the environment of the submission, ``agent`` madagent's argv,
    ``notes`` what the user should know before the job is submitted.
    """

    nodes: int
    settings: Mapping[str, str]
    output: str
    words: Sequence[str]
    env: Mapping[str, str]
    agent: Sequence[str]
    notes: Sequence[str] = ()


def script(batch: Batch, show_values: bool = False) -> str:
    """The script. Whatever is the user's is quoted; raises InputError for what cannot be.

    Slurm keeps the script, and others may read it: it names the variables that sbatch hands on in
    its own environment, and has their values only with ``show_values``.

    >>> print(script(Batch(2, {"time": "1:00:00"}, "/logs/%j.out", (), {"A": "x y"},
    ...                    ("madagent", "train.py", "$HOME"))))
    #!/bin/sh
    #SBATCH --job-name=madrun
    #SBATCH --nodes=2
    #SBATCH --ntasks-per-node=1
    #SBATCH --time=1:00:00
    #SBATCH --export=ALL
    #SBATCH --output=/logs/%j.out
    <BLANKLINE>
    unset MADRUN_HOSTFILE
    # From the environment of sbatch: A (madrun --dry-run --show-values writes the values here)
    exec srun --ntasks-per-node=1 --kill-on-bad-exit=1 --wait=0 --cpu-bind=none --gpu-bind=none \
--mpi=none --input=none --export=ALL madagent train.py '$HOME'
    <BLANKLINE>
    """
    settings = batch.settings
    lines = ["--job-name=madrun", f"--nodes={batch.nodes}", "--ntasks-per-node=1"]
    for name in _OPTIONS:
        if settings.get(name):
            lines.append(f"--{name.replace('_', '-')}={settings[name]}")
    if settings.get("exclusive") == _TRUE:
        lines.append("--exclusive")
    lines += ["--export=ALL", f"--output={batch.output}", *batch.words]
    modules = json.loads(settings.get("modules") or "[]")
    # Only a login shell has the command `module`.
    head = ["#!/bin/bash -l" if modules else "#!/bin/sh", *(f"#SBATCH {_word(x)}" for x in lines)]
    # Who has a hostfile starts agents by hand; here Slurm names the hosts.
    body = [*(f"module load {shlex.quote(name)}" for name in modules), f"unset {HOSTFILE_VARIABLE}"]
    body += _variables(batch.env, show_values)
    srun = [*_SRUN]
    if settings.get("cpus_per_task"):  # which srun does not take from sbatch since 22.05
        srun.append(f"--cpus-per-task={settings['cpus_per_task']}")
    return "\n".join([*head, "", *body, "exec " + shlex.join([*srun, *batch.agent]), ""])


def _variables(env: Mapping[str, str], show_values: bool) -> list[str]:
    names = sorted(name for name in env if _NAME.fullmatch(name))  # a shell knows no others
    if show_values:
        return [f"export {name}={shlex.quote(env[name])}" for name in names]
    if not names:
        return []
    how = "madrun --dry-run --show-values writes the values here"
    return [f"# From the environment of sbatch: {' '.join(names)} ({how})"]


def _word(word: str) -> str:
    """An option in a ``#SBATCH`` line, which ends at a blank and, after one, at a ``#``.

    >>> _word("--output=/my logs/%j.out"), _word("--constraint=[a|b]&c")
    ('--output="/my logs/%j.out"', '--constraint=[a|b]&c')
    """
    if _PLAIN.fullmatch(word):
        return word
    if any(character in word for character in "\n\r\0\"'\\"):
        raise InputError(f"{word[:80]!r}: sbatch takes no quotes, backslashes or line ends there")
    name, equals, value = word.partition("=")
    return f'{name}{equals}"{value}"'
