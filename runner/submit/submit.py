"""``--submit slurm``: a batch script, written or handed to sbatch, and perhaps waited for."""

from __future__ import annotations

import json
import os
import re
import select
import shlex
import signal
import subprocess
import sys
from collections.abc import Mapping
from typing import IO

from madrun.backends.base import runs_isolated
from madrun.launchers.registry import find
from madrun.options.command_line import TYPED
from madrun.options.option_types import nearest
from madrun.options.request import Nodes, Request, Selection
from madrun.runner.config.keys import SLURM
from madrun.runner.plan import exported, make_plan
from madrun.runner.submit.passed_on import check_options, words_of
from madrun.runner.submit.sbatch import Batch, script
from madrun.system.errors import ClusterError, InputError
from madrun.system.exits import exit_status
from madrun.system.signals import ENDING, passed, sent_as

_GPUS = re.compile(r"([1-9][0-9]{0,3})$")  # "8", "a100:8"
_USUAL_COUNTS = (8, 4, 2, 1, 16)
_LOOK_INTERVAL = 0.5  # seconds: the log comes from other machines, whose writes nobody tells us
_READ = 65536


def submit(request: Request, environ: Mapping[str, str], cwd: str, python: str) -> int:
    """Print the script (--dry-run) or submit it; returns the exit status, with --wait the job's.

    Raises InputError, and ClusterError where sbatch is not there or refuses.
    """
    batch = batch_of(request, environ, cwd, python)
    text = script(batch, request.console.show_values)
    for note in () if request.console.quiet else batch.notes:
        sys.stderr.write(f"madrun: {note}\n")
    if request.dry_run:
        print(json.dumps({"script": text}, indent=2) if request.console.json else text.rstrip("\n"))
        return 0
    os.makedirs(os.path.dirname(batch.output), exist_ok=True)
    command = ["sbatch", "--parsable", *(["--wait"] if request.submit.wait else [])]
    with _start(command, {**environ, **batch.env}) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        with process.stdin as stdin:
            stdin.write(os.fsencode(text))
        job_id = process.stdout.readline().decode().partition(";")[0].strip()
        if not job_id:
            status = process.wait()
            raise ClusterError(f"sbatch has taken no job: exit status {status}; see above")
        log = batch.output.replace("%j", job_id)
        print(job_id, flush=True)
        if not request.console.quiet:
            sys.stderr.write(f"madrun: Slurm job {job_id} is submitted; its output: {log}\n")
        return _follow(process, job_id, log) if request.submit.wait else process.wait()


def batch_of(request: Request, environ: Mapping[str, str], cwd: str, python: str) -> Batch:
    """What the script is made of; raises InputError."""
    check_options(request)
    asked = request.selection
    typed = _typed(request.submit.settings)
    settings = {**request.submit.section, **typed}
    nodes = _nodes(request, typed.get("nodes", ""), settings.get("nodes", ""))
    notes = _planned_notes(request, nodes, settings.get("gpus_per_node", ""), environ, cwd)
    if asked.workers and "gpus_per_node" not in settings:
        settings["gpus_per_node"] = str(asked.workers)
    folder = os.path.join(cwd, settings.get("output_dir") or "")
    try:
        words = shlex.split(request.nodes.backend_args)
    except ValueError as error:
        raise InputError(f"--backend-args {request.nodes.backend_args!r}: {error}") from None
    return Batch(
        nodes=nodes,
        settings=settings,
        output=os.path.join(os.path.normpath(folder), "slurm-%j.out"),
        words=words,
        env=exported(request, environ, cwd),
        agent=_agent(request, environ, cwd, python),
        notes=notes,
    )


def _planned_notes(
    request: Request, nodes: int, gpus: str, environ: Mapping[str, str], cwd: str
) -> tuple[str, ...]:
    """Plan every node before the queue: what the user should know of it.

    Raises InputError for what the launcher cannot do.

    How many workers a node has may be known to Slurm alone: then any usual number will do.
    """
    found = _GPUS.search(gpus)
    known = request.selection.workers or (int(found[1]) if found else 0)
    problems = []
    planned = request._replace(nodes=Nodes(), dry_run=True)
    find(request.program.launcher)
    for count in (known,) if known else _USUAL_COUNTS:
        hosts = ",".join(f"node{number}:{count}" for number in range(nodes))
        try:
            plan = make_plan(planned._replace(selection=Selection(hosts=hosts)), environ, cwd, "py")
        except InputError as error:
            problems.append(error)
        else:
            return plan.notes
    raise problems[0]


def _nodes(request: Request, typed: str, setting: str) -> int:
    """How many nodes; raises InputError where two different numbers were typed.

    >>> from madrun.options.request import changed
    >>> _nodes(changed(Request(), {"nnodes": 2}), "", "4"), _nodes(Request(), "", "4")
    (2, 4)
    """
    asked = request.selection.nnodes
    if asked is None:
        return int(setting or 1)
    if typed and int(typed) != asked:
        if TYPED not in request.origins.get("nnodes", TYPED):  # a config's: what is typed wins
            return int(typed)
        raise InputError(
            f"--nnodes {asked} and --slurm nodes={typed} contradict each other; one is enough"
        )
    return asked


def _typed(settings: tuple[str, ...]) -> dict[str, str]:
    """What ``--slurm NAME=VALUE`` says, checked as the config's section is."""
    found: dict[str, str] = {}
    for text in settings:
        name, equals, value = text.partition("=")
        key = name.strip().replace("-", "_")
        kind = SLURM.get(key)
        if kind is None or not callable(kind):
            raise InputError(f"--slurm {name}: there is no such setting; {nearest(key, SLURM)}")
        found[key] = kind(f"--slurm {key}", value if equals else "true")
    return found


def _agent(request: Request, environ: Mapping[str, str], cwd: str, python: str) -> list[str]:
    """The words of madagent that say what those of this madrun do."""
    program = request.program
    isolated = not program.interpreter and runs_isolated(environ)
    words = [program.interpreter or python, *(["-I"] if isolated else []), "-m", "madrun.agent"]
    return [*words, *words_of(request, cwd), "--", *program.argv]


def _start(command: list[str], env: Mapping[str, str]) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=env,
            start_new_session=True,  # the terminal's Ctrl-C is ours
        )
    except OSError as error:
        raise ClusterError(
            f"{command[0]} cannot be started: {error.strerror};"
            " it belongs to Slurm (slurm-client); --dry-run shows the script without it"
        ) from None


def _follow(process: subprocess.Popen[bytes], job_id: str, log: str) -> int:
    """Show the log as it grows until the job is over; a signal to us ends the job."""
    stopped: list[int] = []
    wake, waker = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)  # it only has to wake us
    for number in ENDING:
        for each in (number, passed(number), passed(number, by_parent=True)):
            signal.signal(each, lambda got, _frame: stopped.append(sent_as(got)))
    file: IO[bytes] | None = None
    cancelled = False
    while process.poll() is None:
        if select.select([wake], [], [], _LOOK_INTERVAL)[0]:
            os.read(wake, 512)
        if stopped and not cancelled:
            cancelled = True
            subprocess.run(["scancel", job_id], stdin=subprocess.DEVNULL, check=False)
        file = file or _opened(log)
        if file is not None:
            _show(file)
    status = exit_status(process.wait())
    if file is not None:
        _show(file)
        file.close()
    return 128 + stopped[0] if stopped else status


def _opened(log: str) -> IO[bytes] | None:
    """The log, once the job has begun to write it."""
    try:
        return open(log, "rb")
    except OSError:
        return None


def _show(file: IO[bytes]) -> None:
    while data := file.read(_READ):
        sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()
