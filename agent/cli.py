"""The command ``madagent``: the same options as madrun, and this node's place."""

from __future__ import annotations

from collections.abc import Sequence

import click

from madrun.options.command_line import command_of, own_output, show_usage_error
from madrun.options.request import Request
from madrun.record.guard_handover import GuardHandover
from madrun.system.errors import MadrunError

_EXAMPLES = """\
madagent train.py                                      all GPUs of this machine
srun --ntasks-per-node=1 madagent train.py             on each node of a Slurm job
madagent --hosts node01:8,node02:8 --node-rank 1 --master-addr node01 train.py
"""


# What is loaded later is not needed for --version, and only the launchers' names for --help.
def _launchers() -> list[str]:
    from madrun.launchers.registry import own_names

    return own_names()


command = command_of(
    "madagent",
    "Run this node's part of a job: PROGRAM once per slot of this node.",
    _EXAMPLES,
    {"launcher": _launchers},
)


def run_command(argv: Sequence[str], guard_fd: int, handover: GuardHandover) -> int:
    """Run madagent with these arguments; returns the exit status."""
    try:
        with own_output():  # --help, --version
            request = command.main(list(argv), prog_name="madagent", standalone_mode=False)
        if not isinstance(request, Request):
            return 0  # --help, --version
        from madrun.agent.standalone.by_hand import run_node

        return run_node(request, guard_fd, handover)
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.ClickException as error:
        return show_usage_error("madagent", error)
    except MadrunError as error:
        click.echo(f"madagent: {error}", err=True)
        return error.exit_status
