"""``madagent`` by hand on each node: the same options as madrun, and this node's place."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import click

import madrun
from madrun.agent.standalone import slurm_step
from madrun.agent.standalone.standalone_job import StandaloneJob
from madrun.hosts import world_info
from madrun.hosts.core_list import parse_core_list
from madrun.hosts.devices import own_facts
from madrun.hosts.resources import Selection, resolve
from madrun.hosts.world import World
from madrun.launchers.launcher import Launcher
from madrun.launchers.process_table import process_table
from madrun.launchers.registry import find
from madrun.options.job_options import (
    CONTEXT,
    MASTER,
    OUTPUT,
    PROGRAM,
    RESOURCES,
    WORKERS,
    asked_log_dir,
    checked_interface,
    options,
    program_mode,
    show_usage_error,
)
from madrun.output.stdin import stdin_of
from madrun.system.errors import InputError, MadrunError
from madrun.wire.jobspec import JobSpec, shown_ranks

_DEFAULT_PORT = 29500  # torchrun's and DeepSpeed's: by hand, nobody can agree on a free one

PLACE = [
    click.option("--world-info", "world_text", default="", metavar="BASE64",
                 help="The hosts and their devices, as DeepSpeed encodes them."),
    click.option("--node-rank", type=int, metavar="N",
                 help="Default: the place of this machine's name among the hosts."),
    click.option("--launcher", default="native", show_default=True, metavar="NAME"),
    click.option("--workdir", default="", metavar="DIR", help="Default: the current folder."),
]  # fmt: skip

_SELECTION = ("hostfile", "hosts", "include", "exclude", "nnodes", "nproc_per_node")


@click.command(context_settings=CONTEXT)
@options(RESOURCES, PLACE, PROGRAM, MASTER, WORKERS, OUTPUT)
@click.version_option(madrun.__version__, message="madagent %(version)s")
@click.argument("program")
@click.argument("args", nargs=-1, type=click.UNPROCESSED)
def command(**values: Any) -> dict[str, Any]:
    """Run this node's part of a job: PROGRAM once per slot of this node."""
    return values


def run_command(argv: Sequence[str], guard_fd: int) -> int:
    """Run madagent with these arguments; returns the exit status."""
    try:
        values = command.main(list(argv), prog_name="madagent", standalone_mode=False)
        if not isinstance(values, dict):
            return int(values or 0)  # --help, --version
        shown = not values.pop("no_prefix"), values.pop("fold")
        values.pop("color")
        place = slurm_step.place_of(values, os.environ)
        if place is not None:
            return slurm_step.run(values, place, spec_of, guard_fd, *shown)
        spec, node_rank = job_of(values)
        return StandaloneJob(spec, node_rank, guard_fd, *shown).run()
    except click.ClickException as error:
        return show_usage_error("madagent", error)
    except MadrunError as error:
        click.echo(f"madagent: {error}", err=True)
        return error.exit_status


def job_of(values: dict[str, Any]) -> tuple[JobSpec, int]:
    """The job spec and this node's rank, from the options; raises InputError."""
    world = _world(values.pop("world_text"), {name: values.pop(name) for name in _SELECTION})
    node_rank = place_in(world, values.pop("node_rank"), socket.gethostname())
    several = len(world.nodes) > 1
    if several and not values["master_addr"]:
        raise InputError(
            "--master-addr is needed: by hand, nobody can tell the nodes of each other"
        )
    values["master_port"] = values["master_port"] or (_DEFAULT_PORT if several else 0)
    job_id = time.strftime("%Y%m%d-%H%M%S-") + os.urandom(3).hex()
    return spec_of(values, world, job_id), node_rank


def spec_of(values: dict[str, Any], world: World, job_id: str) -> JobSpec:
    """The job spec of this World, from the options that are left; raises InputError."""
    mode = program_mode(
        values.pop("module"),
        values.pop("no_python"),
        values["local_rank_arg"],
        values.pop("no_local_rank"),
    )
    launcher = find(values["launcher"])
    values["launcher"] = launcher.name
    values["options"] = _options(launcher, values.pop("launcher_opts"))
    checked_interface(values["interface"])
    if values["core_list"]:
        parse_core_list(values["core_list"])
    here = os.getcwd()
    values["workdir"] = os.path.join(here, values["workdir"]) if values["workdir"] else here
    values["log_dir"] = asked_log_dir(values["log_dir"], here)
    values["bind_cores"] = values["bind_cores"] or bool(values["core_list"])
    spec = JobSpec(
        job_id=job_id,
        world=world,
        argv=(values.pop("program"), *values.pop("args")),
        mode=mode,
        python=sys.executable,
        **values,
    )
    who = process_table(spec)
    shown_ranks(spec.output, who.size, who.noun)
    return replace(spec, stdin=stdin_of(spec.stdin, who.size, who.noun))


def _options(launcher: Launcher, texts: Sequence[str]) -> dict[str, str]:
    if not texts:
        return {}
    from madrun.launchers.options import typed

    return typed(launcher, texts)


def place_in(world: World, node_rank: int | None, hostname: str) -> int:
    """The node rank: as given, else where this machine's name stands; raises InputError."""
    if node_rank is not None:
        if not 0 <= node_rank < len(world.nodes):
            raise InputError(
                f"--node-rank {node_rank}: this job has nodes 0-{len(world.nodes) - 1}"
            )
        return node_rank
    if len(world.nodes) == 1:
        return 0
    short = hostname.partition(".")[0]
    for name in (hostname, short):
        if name in world.hosts:
            return world.hosts.index(name)
    raise InputError(
        f"--node-rank is needed: {hostname} is not among the hosts {', '.join(world.hosts)}"
    )


def _world(world_text: str, chosen: dict[str, Any]) -> World:
    if world_text:
        named = [name for name, value in chosen.items() if value]
        if named:
            option = named[0].replace("_", "-")
            raise InputError(f"--world-info names the hosts already: --{option} cannot be added")
        return world_info.decode(world_text)
    selection = Selection(**chosen)
    return resolve(selection, os.environ, _count_devices).world


def _count_devices() -> int:
    return own_facts().devices
