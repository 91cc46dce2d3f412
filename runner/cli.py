"""The command ``madrun``: options in, exit status out."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import click

from madrun.options.command_line import command_of, own_output, show_usage_error
from madrun.options.request import Config, Request
from madrun.record.guard_handover import GuardHandover
from madrun.system.errors import InputError, MadrunError

_EXAMPLES = """\
madrun train.py --lr 1e-3                              all GPUs of this machine
madrun -H hostfile train.py                            all slots of the hosts in a file
madrun --hosts 'node[01-04]' --nproc-per-node 8 train.py
madrun -H hostfile --launcher torchrun train.py        torchrun on each node
madrun -H hostfile --dry-run train.py                  show it, contact nobody
"""


# What is loaded later is not needed for --version and --help, or for only one of them.
def _launchers() -> list[str]:
    from madrun.launchers.registry import own_names

    return own_names()


def _backends() -> list[str]:
    from madrun.backends.registry import own_names

    return own_names()


command = command_of(
    "madrun",
    "Start PROGRAM, one worker per GPU, on every host; end all of it when any of it fails.",
    _EXAMPLES,
    {"launcher": _launchers, "backend": _backends},
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
        from madrun.job.spec import working_folder

        if request.submit.scheduler:
            from madrun.runner.submit.submit import submit

            return submit(request, os.environ, working_folder(), sys.executable)
        if request.submit.settings or request.submit.wait:
            raise InputError("--slurm and --wait are for --submit slurm only")
        from madrun.runner.plan import make_plan

        plan = make_plan(request, os.environ, working_folder(), sys.executable)
        if request.dry_run:
            from madrun.runner.dry_run import describe

            text = describe(plan, as_json=request.console.json)
            with own_output():
                click.echo(text)
            return 0
        from madrun.runner.launch import launch
        from madrun.system.loop import Loop

        return launch(plan, guard_fd, handover, Loop())
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.ClickException as error:
        return show_usage_error("madrun", error)
    except MadrunError as error:
        click.echo(f"madrun: {error}", err=True)
        return error.exit_status
