"""The command-line options that madrun and madagent share.

Dashes and underscores are alike in every option name, and DeepSpeed's and torchrun's spellings
are accepted, so that a command line moves over by changing its first word.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import Any, TypeVar

import click

from madrun.system.errors import InputError
from madrun.wire.jobspec import EXEC, MODULE, PYTHON

_INTERFACES = re.compile(r"[A-Za-z0-9][\w.:@-]{0,14}(,[A-Za-z0-9][\w.:@-]{0,14})*", re.ASCII)

Command = TypeVar("Command", bound=Callable[..., Any])

NO_LOGS = "none"  # a folder of that name is ./none

CONTEXT = {
    "help_option_names": ["-h", "--help"],
    "token_normalize_func": lambda word: word.replace("_", "-"),
    "allow_interspersed_args": False,  # what stands after the program is the program's
    "max_content_width": 100,
}


class Seconds(click.FloatRange):
    """A number of seconds within bounds; ``nan`` is none, though it offends no bound."""

    name = "seconds"

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        number = super().convert(value, param, ctx)
        if number != number:
            self.fail(f"{value} is not a number of seconds.", param, ctx)
        return number


RESOURCES = [
    click.option("-H", "--hostfile", metavar="FILE", help="MPI hostfile, in rank order."),
    click.option("--hosts", metavar="LIST", help="Hosts inline: 'node[01-04]:8,big:4'."),
    click.option("-i", "--include", default="", metavar="FILTER", help="'node01@node02:0,2'."),
    click.option("-e", "--exclude", default="", metavar="FILTER", help="Like --include."),
    click.option("--nnodes", "--num-nodes", type=int, metavar="N", help="The first N hosts."),
    click.option(
        "--nproc-per-node", "--num-gpus", "--num-accelerators", "nproc_per_node",
        type=int, metavar="N", help="Workers on each host: its first N slots.",
    ),
]  # fmt: skip

MASTER = [
    click.option("--master-addr", default="", metavar="HOST", help="Default: node 0."),
    click.option(
        "--master-port", default=0, type=click.IntRange(0, 65535), metavar="PORT",
        help="0: node 0 chooses a free one.",
    ),
    click.option("--interface", default="", metavar="NAME",
                 help="The network interface for NCCL and Gloo. Default: they choose."),
]  # fmt: skip

PROGRAM = [
    click.option("--launcher-opt", "launcher_opts", multiple=True, metavar="NAME=VALUE",
                 help="An option of the launcher, as in its config section. Repeatable."),
    click.option("-m", "--module", is_flag=True, help="PROGRAM is a Python module."),
    click.option("--no-python", is_flag=True, help="PROGRAM is run as it is, not by Python."),
    click.option("--local-rank-arg", is_flag=True, help="Pass --local_rank=N to the program."),
    click.option("--no-local-rank", is_flag=True, help="The default; accepted for DeepSpeed."),
]  # fmt: skip

WORKERS = [
    click.option(
        "--device-binding", type=click.Choice(["node", "worker"]), default="node",
        show_default=True,
        help="A worker sees all the job's devices of its node, or only its own.",
    ),
    click.option("--bind-cores-to-rank", "bind_cores", is_flag=True,
                 help="Give each worker its share of the node's cores."),
    click.option("--bind-core-list", "core_list", default="", metavar="LIST",
                 help="Share only these cores: 0,2-4,6."),
    click.option("--grace", type=Seconds(0, 86400), default=15.0, show_default=True,
                 metavar="SECONDS", help="Time between TERM and KILL, for all workers together."),
]  # fmt: skip

OUTPUT = [
    click.option("--stdin", default="0", show_default=True, metavar="RANK",
                 help="Who reads this command's stdin: a rank, all, or none."),
    click.option("--output", default="all", show_default=True, metavar="RANKS",
                 help="Whose output is shown: all, first, none, or ranks as 0,3-5."),
    click.option("--no-prefix", is_flag=True, help="Show lines without [host:rank]."),
    click.option("--color", type=click.Choice(["auto", "always", "never"]), default="auto",
                 show_default=True, help="auto: on a terminal, unless $NO_COLOR is set."),
    click.option("--fold", is_flag=True, help="Show a line that several ranks write once."),
    click.option("--log-dir", default="", metavar="DIR",
                 help="Write rank0003.out and .err there, on each node; none: nowhere."),
]  # fmt: skip


def options(*groups: list[Callable[[Command], Command]]) -> Callable[[Command], Command]:
    """All options of some groups as one decorator, in their order."""

    def decorate(command: Command) -> Command:
        for option in reversed([option for group in groups for option in group]):
            command = option(command)
        return command

    return decorate


def program_mode(module: bool, no_python: bool, local_rank_arg: bool, no_local_rank: bool) -> str:
    """How the program is run; raises InputError for options that exclude each other."""
    if module and no_python:
        raise InputError("--module and --no-python exclude each other: a module needs Python")
    if local_rank_arg and no_local_rank:
        raise InputError("--local-rank-arg and --no-local-rank exclude each other")
    return MODULE if module else EXEC if no_python else PYTHON


def checked_interface(name: str) -> str:
    """One interface or several, with commas; raises InputError for what cannot be one."""
    if name and not _INTERFACES.fullmatch(name):
        raise InputError(f"--interface {name[:60]!r}: names as eth0 or ib0,ib1 are allowed")
    return name


def asked_log_dir(given: str, cwd: str) -> str:
    """The folder that ``--log-dir`` names, as a full path; empty where it names none.

    >>> asked_log_dir("logs", "/home/me"), asked_log_dir("none", "/home/me")
    ('/home/me/logs', '')
    """
    return os.path.join(cwd, given) if given not in ("", NO_LOGS) else ""


def show_usage_error(name: str, error: click.ClickException) -> int:
    """Print what is wrong with a command line, in one line, and return the exit status 2."""
    click.echo(f"{name}: {error.format_message()} ({name} --help lists the options)", err=True)
    return 2
