"""The command ``madrun``: options in, exit status out."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

import click
from click.core import ParameterSource

import madrun
from madrun.options.job_options import (
    CONTEXT,
    MASTER,
    OUTPUT,
    PROGRAM,
    RESOURCES,
    WORKERS,
    Seconds,
    options,
    program_mode,
    show_usage_error,
)
from madrun.record.guard_handover import GuardHandover
from madrun.runner.launch import launch
from madrun.runner.plan import Request, make_plan
from madrun.system.errors import MadrunError
from madrun.system.loop import Loop

NODES = [
    click.option("--backend", default="auto", show_default=True, metavar="NAME",
                 help="How agents get onto the nodes: ssh, pdsh, openmpi, mpich, srun, ..."),
    click.option("--backend-args", "--launcher-args", "backend_args", default="", metavar="WORDS",
                 help="Further words for the backend's tool."),
    click.option("--launcher", default="native", show_default=True, metavar="NAME",
                 help="What runs on a node."),
    click.option("--ssh-user", default="", metavar="NAME", help="Whom to log in as."),
    click.option("--ssh-port", type=click.IntRange(1, 65535), metavar="PORT",
                 help="Default: the hostfile's, ssh_config's, 22."),
    click.option("--ssh-key", default="", metavar="FILE", help="The private key to offer."),
    click.option("--ssh-accept-new", is_flag=True, help="Trust a host key on first use."),
    click.option("--fan-out", type=click.IntRange(1, 4096), default=64, show_default=True,
                 help="Logins at the same time."),
    click.option("--connect-timeout", type=Seconds(0.1, 3600), default=10.0,
                 show_default=True, metavar="SECONDS", help="For one login attempt."),
    click.option("--launch-timeout", type=Seconds(0.1, 86400), default=60.0,
                 show_default=True, metavar="SECONDS", help="For all agents to check in."),
    click.option("--heartbeat-timeout", type=Seconds(1, 3600), default=5.0,
                 show_default=True, metavar="SECONDS", help="Then a silent node is lost."),
    click.option("--remote-python", default="", metavar="PATH",
                 help="Python on the nodes. Default: the one that runs madrun."),
    click.option("--workdir", default="", metavar="DIR", help="Default: this folder's path."),
]  # fmt: skip

ENVIRONMENT = [
    click.option("--export", "exports", multiple=True, metavar="NAME[=VALUE]",
                 help="Give this variable to the workers; also NCCL_*. Repeatable."),
    click.option("--export-all", is_flag=True, help="Export all but what belongs to a machine."),
    click.option("--env-file", "env_files", multiple=True, metavar="FILE",
                 help="NAME=VALUE lines for the workers. Repeatable."),
]  # fmt: skip

SERVING = [
    click.option("--client", default="", metavar="COMMAND",
                 help="Run this against the server once it is ready; its status is the job's."),
    click.option("--ready-timeout", type=Seconds(1, 604800), default=1800.0,
                 show_default=True, metavar="SECONDS", help="For a server to be ready."),
]  # fmt: skip

RECORD = [
    click.option("--job-dir", default="", metavar="DIR",
                 help="Where each job leaves a folder. Default: $MADRUN_JOB_DIR, ~/.madrun/jobs."),
    click.option("--pid-file", default="", metavar="FILE",
                 help="Write madrun's process id there while the job lives."),
    click.option("--save-pid", is_flag=True, help="The same, as 'pid' in the job's folder."),
    click.option("-v", "--verbose", is_flag=True, help="Say how long each host took to start."),
]  # fmt: skip

SUBMIT = [
    click.option("--submit", default="", type=click.Choice(["", "slurm"]), metavar="slurm",
                 help="Submit a batch job that runs this; --dry-run shows its script."),
    click.option("--slurm", "slurm_settings", multiple=True, metavar="NAME=VALUE",
                 help="For --submit: partition, time, gpus_per_node, ... Repeatable."),
    click.option("--wait", is_flag=True,
                 help="For --submit: show the job's output and return its status."),
]  # fmt: skip

CONFIG = [
    click.option("--config", multiple=True, metavar="FILE",
                 help="Settings in JSON, TOML or YAML; what is typed wins. Repeatable."),
    click.option("--additional-context", multiple=True, metavar="TEXT",
                 help="The same sections inline: \"{'distributed': {...}}\". Repeatable."),
]  # fmt: skip


@click.command(context_settings=CONTEXT)
@options(
    RESOURCES, PROGRAM, MASTER, NODES, ENVIRONMENT, WORKERS, OUTPUT, SERVING, RECORD, CONFIG, SUBMIT
)
@click.option("--dry-run", is_flag=True, help="Show who would run what; contact nobody.")
@click.option(
    "--show-values",
    is_flag=True,
    help="With --dry-run: the values of exported variables too, which may be secrets.",
)
@click.option("--json", "as_json", is_flag=True,
              help="The job's events as JSON lines; with --dry-run one object.")  # fmt: skip
@click.version_option(madrun.__version__, message="madrun %(version)s")
@click.argument("program", required=False)
@click.argument("args", nargs=-1, type=click.UNPROCESSED)
def command(**values: Any) -> Request:
    """Start PROGRAM, one worker per GPU, on every host; end all of it when any of it fails."""
    mode = program_mode(
        values.pop("module"),
        values.pop("no_python"),
        values["local_rank_arg"],
        values.pop("no_local_rank"),
    )
    program, args = values.pop("program"), values.pop("args")
    argv = () if program is None else (program, *args)
    request = _configured(Request(mode=mode, argv=argv, **values))
    if not request.argv:
        raise click.UsageError("Missing argument 'PROGRAM'.")
    return request


def _configured(request: Request) -> Request:
    """The request with what its config says, where it has one; what the user typed wins."""
    source = click.get_current_context().get_parameter_source
    names = [name for name in request._fields if source(name) is ParameterSource.COMMANDLINE]
    if not request.config and not request.additional_context:
        return request._replace(origins=dict.fromkeys(names, "the command line"))
    from madrun.runner.config.config import configured

    return configured(request, frozenset(names), os.environ)


def run_command(argv: Sequence[str], guard_fd: int, handover: GuardHandover) -> int:
    """Run madrun with these arguments; returns the exit status."""
    try:
        request = command.main(list(argv), prog_name="madrun", standalone_mode=False)
        if not isinstance(request, Request):
            return int(request or 0)  # --help, --version
        if request.submit:
            from madrun.runner.submit.submit import submit

            return submit(request, os.environ, os.getcwd(), sys.executable)
        plan = make_plan(request, os.environ, os.getcwd(), sys.executable)
        if request.dry_run:
            from madrun.runner.dry_run import describe

            click.echo(describe(plan, as_json=request.as_json))
            return 0
        return launch(plan, guard_fd, handover, Loop())
    except click.ClickException as error:
        return show_usage_error("madrun", error)
    except MadrunError as error:
        click.echo(f"madrun: {error}", err=True)
        return error.exit_status
