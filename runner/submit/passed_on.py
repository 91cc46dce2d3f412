"""Where each option goes that is typed with ``--submit``: to madagent, into the script, or nowhere.

What goes nowhere is an error: nobody looks at a job in the queue for an option that was dropped.
"""

from __future__ import annotations

import os

from madrun.options.option import BOTH
from madrun.options.request import Request, asked_for, fields, value_of
from madrun.system.errors import InputError

# Read by the runner itself: said to Slurm, in the environment, as a whole path, or done here.
_USED_HERE = frozenset({
    "nnodes", "workdir", "launcher_opt", "remote_python", "venv_script", "backend_args",
    "export", "export_all", "env_file", "config", "additional_context",
    "submit", "slurm", "wait", "dry_run", "quiet",
})  # fmt: skip
_WITH_DRY_RUN = {
    "json": "only the script of --dry-run can be JSON; the job's events are in its record",
    "show_values": "only --dry-run can show them: Slurm keeps a script, and others may read it",
}
_HOSTS = "Slurm chooses the hosts, so none can be named (--slurm nodelist=LIST asks it for some)"
_LOGIN = "Slurm starts the agents, and nobody logs in"
_REFUSED = {
    **_WITH_DRY_RUN,
    "hosts": _HOSTS,
    "hostfile": _HOSTS,
    "force_multi": _LOGIN,
    "backend": "Slurm starts the agents, by srun",
}
_NOT_ITS_OWN = "madagent, which Slurm starts, has no such option"


def check_options(request: Request) -> None:
    """Raises InputError for the first option that a batch job cannot obey."""
    for key in asked_for(request):
        if not (_is_obeyed(request, key) or key in _USED_HERE or _is_passed(key)):
            usual = _LOGIN if fields()[key].group == "ssh" else _NOT_ITS_OWN
            raise InputError(f"--submit slurm: {_typed(key)}: {_REFUSED.get(key, usual)}")


def words_of(request: Request, cwd: str) -> list[str]:
    """The options of madagent that say what those of this madrun do."""
    program, words = request.program, []
    for key, value in asked_for(request).items():
        if _is_passed(key):
            words.append(_typed(key) if value is True else f"{_typed(key)}={value}")
    typed = {text.partition("=")[0].replace("-", "_") for text in program.launcher_opts}
    config = [f"{name}={value}" for name, value in program.section.items() if name not in typed]
    words += [f"--launcher-opt={text}" for text in (*config, *program.launcher_opts)]
    words.append(f"--workdir={os.path.join(cwd, program.workdir) if program.workdir else cwd}")
    return words


def _is_obeyed(request: Request, key: str) -> bool:
    """Whether an option that is refused otherwise asks for what is done."""
    if key in _WITH_DRY_RUN:
        return request.dry_run
    return key == "backend" and value_of(request, key) == "srun"


def _is_passed(key: str) -> bool:
    return fields()[key].option.of == BOTH and key not in _USED_HERE and key not in _REFUSED


def _typed(key: str) -> str:
    return f"--{key.replace('_', '-')}"
