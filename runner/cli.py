"""The command ``madrun``: options in, exit status out."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import click

from madrun.backends import registry as backends
from madrun.job.spec import working_folder
from madrun.launchers import registry as launchers
from madrun.options.command_line import command_of, own_output, show_usage_error
from madrun.options.request import Config, Request
from madrun.record.guard_handover import GuardHandover
from madrun.runner.launch import launch
from madrun.runner.plan import make_plan
from madrun.system.errors import MadrunError
from madrun.system.loop import Loop

_EXAMPLES = """\
madrun train.py --lr 1e-3                              all GPUs of this machine
madrun -H hostfile train.py                            all slots of the hosts in a file
madrun --hosts 'node[01-04]' --nproc-per-node 8 train.py
madrun -H hostfile --launcher torchrun train.py        torchrun on each node
madrun -H hostfile --dry-run train.py                  show it, contact nobody
"""

command = command_of(
    "madrun",
    "Start PROGRAM, one worker per GPU, on every host; end all of it when any of it fails.",
    _EXAMPLES,
    {"launcher": launchers.own_names, "backend": backends.own_names},
)


def parsed(argv: Sequence[str]) -> Request:
    """What is asked for, a config considered; raises click's Exit after --help and --version."""
    with own_output():  # --help, --version
        request = command.main(list(argv), prog_name="madrun", standalone_mode=False)
    if not isinstance(request, Request):
        raise click.exceptions.Exit(0)
    if request.config == Config():
        return request
    from madrun.runner.config.config import configured

    return configured(request, os.environ)


def run_command(argv: Sequence[str], guard_fd: int, handover: GuardHandover) -> int:
    """Run madrun with these arguments; returns the exit status."""
    try:
        request = parsed(argv)
        if request.submit.scheduler:
            from madrun.runner.submit.submit import submit

            return submit(request, os.environ, working_folder(), sys.executable)
        plan = make_plan(request, os.environ, working_folder(), sys.executable)
        if request.dry_run:
            from madrun.runner.dry_run import describe

            text = describe(plan, as_json=request.console.json)
            with own_output():
                click.echo(text)
            return 0
        return launch(plan, guard_fd, handover, Loop())
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.ClickException as error:
        return show_usage_error("madrun", error)
    except MadrunError as error:
        click.echo(f"madrun: {error}", err=True)
        return error.exit_status
