"""The command line: `testbed VERB ...`."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from dataclasses import asdict
from typing import TYPE_CHECKING

from testbed import cgroups, faults, life, slurm, state
from testbed.kernel import TestbedError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from testbed.state import Cluster, Host

DEFAULT_BASE = "/tmp/madrun-testbed"


def up(args: argparse.Namespace) -> None:
    """Bring up the hosts."""
    begin = time.monotonic()
    cluster = life.up(
        args.base, args.n, gpus=args.gpus, sshd=args.sshd, shared=args.share, root=not args.no_root
    )
    took = time.monotonic() - begin
    print(f"{args.n} nodes and head under {cluster.base} in {took:.1f} s")


def status(args: argparse.Namespace) -> None:
    """Say how every host is."""
    cluster = state.load(args.base)
    rows = [_row(cluster, host) for host in cluster.hosts.values()]
    if args.json:
        print(json.dumps(rows))
        return
    for row in rows:
        text = f"{row['host']:8} {row['ip']:12} {row['pid'] or '-':>7} {row['state']:7}"
        text += " cut" if row["cut"] else ""
        text += f" delay {row['delay']}" if row["delay"] else ""
        print(text.rstrip())


def _row(cluster: Cluster, host: Host) -> dict[str, Any]:
    alive = host.alive()
    frozen = cgroups.is_frozen(cluster.host_cgroup(host.name))
    return {
        "host": host.name,
        "ip": host.ip,
        "pid": host.pid if alive else None,
        "state": "dead" if not alive else "frozen" if frozen else "up",
        "cut": host.cut,
        "delay": host.delay,
    }


def execute(args: argparse.Namespace) -> None:
    """Run a command in a host, in its place: stdin, terminal, environment and status pass."""
    cluster = state.load(args.base)
    host = cluster.host(args.host)
    argv = args.command[1:] if args.command[:1] == ["--"] else args.command
    cgroups.join(cluster.host_cgroup(host.name))  # so that `freeze` reaches it
    there = ["env", "-C", _folder(cluster, args.chdir or os.getcwd())]
    enter = ["nsenter", "-t", str(host.pid), "-a"]
    os.execvp("nsenter", [*enter, *there, *(argv or ["/bin/sh"])])


def _folder(cluster: Cluster, path: str) -> str:
    """PATH, or / where the host does not have it."""
    return path if os.path.isdir(f"/proc/{cluster.hosts['head'].pid}/root{path}") else "/"


def ps(args: argparse.Namespace) -> None:
    """Show the processes of hosts, with their pids in the host and outside."""
    cluster = state.load(args.base)
    hosts = [cluster.host(name) for name in args.host] or list(cluster.hosts.values())
    found = [each for host in hosts if host.alive() for each in cluster.processes(host)]
    found.sort(key=lambda process: (process.host, process.pid))
    if args.json:
        print(json.dumps([{**asdict(each), "environ": None} for each in found]))
        return
    print(f"{'HOST':8} {'PID':>6} {'PPID':>6} {'SID':>6} {'OUTER':>7} S COMMAND")
    for each in found:
        ids = f"{each.pid:6} {each.ppid:6} {each.sid:6} {each.outer_pid:7}"
        print(f"{each.host:8} {ids} {each.state} {each.cmdline}")


def parser() -> argparse.ArgumentParser:
    """The verbs and their options; `run` is what each one does."""
    top = argparse.ArgumentParser(prog="testbed", description="Hosts on one machine, as root.")
    top.add_argument("--base", default=DEFAULT_BASE, help=f"its folder (default {DEFAULT_BASE})")
    base = argparse.ArgumentParser(add_help=False)
    base.add_argument("--base", default=argparse.SUPPRESS)
    verbs = top.add_subparsers(dest="verb", required=True)

    def verb(name: str, run: Any, about: str) -> argparse.ArgumentParser:
        made = verbs.add_parser(name, help=about, description=about, parents=[base])
        made.set_defaults(run=run)
        return made

    _life_verbs(verb)
    _look_verbs(verb)
    _fault_verbs(verb)
    return top


def _life_verbs(verb: Any) -> None:
    made = verb("up", up, "bring up node01..nodeNN and head")
    made.add_argument("n", nargs="?", type=int, default=4, help="how many nodes (default 4)")
    made.add_argument("--gpus", type=int, default=8, help="/dev/nvidia0.. of each host")
    made.add_argument("--sshd", action="append", default=[], metavar="KEY=VALUE")
    made.add_argument("--share", action="append", default=[], metavar="PATH")
    made.add_argument("--no-root", action="store_true", help="keep this machine out of the net")
    verb("down", lambda args: life.down(args.base), "remove all of it")
    made = verb("start", lambda args: life.start(args.base, args.host), "boot dead hosts again")
    made.add_argument("host", nargs="+")

    def start_slurm(args: argparse.Namespace) -> None:
        slurm.up(args.base, cpus=args.cpus, lines=args.conf)

    made = verb("slurm", start_slurm, "start Slurm on the hosts: munge, slurmctld, slurmd")
    made.add_argument("--cpus", type=int, default=64, help="as how large a node poses")
    made.add_argument("--conf", action="append", default=[], metavar="KEY=VALUE")


def _look_verbs(verb: Any) -> None:
    made = verb("status", status, "show the hosts")
    made.add_argument("--json", action="store_true")
    made = verb("exec", execute, "run a command in a host")
    made.add_argument("--chdir", metavar="PATH")
    made.add_argument("host")
    made.add_argument("command", nargs=argparse.REMAINDER)
    made = verb("ps", ps, "show the processes of hosts")
    made.add_argument("--json", action="store_true")
    made.add_argument("host", nargs="*")


def _fault_verbs(verb: Any) -> None:
    def kill(args: argparse.Namespace) -> None:
        faults.kill(args.base, args.host, crash=args.crash)

    def partition(args: argparse.Namespace) -> None:
        faults.partition(args.base, args.host, args.peer, oneway=args.oneway)

    def delay(args: argparse.Namespace) -> None:
        faults.delay(args.base, args.host, args.time, jitter=args.jitter, loss=args.loss)

    made = verb("kill", kill, "power loss; --crash: peers see their connections end")
    made.add_argument("--crash", action="store_true")
    made.add_argument("host", nargs="+")
    for name, on in [("freeze", True), ("thaw", False)]:
        made = verb(
            name,
            lambda args, on=on: faults.freeze(args.base, args.host, on=on),
            "hang hosts" if on else "end a freeze",
        )
        made.add_argument("host", nargs="+")
    made = verb("partition", partition, "cut a host off from all others, or from one")
    made.add_argument("--oneway", action="store_true", help="only what HOST sends to PEER is lost")
    made.add_argument("host")
    made.add_argument("peer", nargs="?")
    made = verb("heal", lambda args: faults.heal(args.base, args.host, args.peer), "end partitions")
    made.add_argument("host")
    made.add_argument("peer", nargs="?")
    made = verb("delay", delay, "make a host's packets late: TIME is added to the round trip")
    made.add_argument("host")
    made.add_argument("time", help="such as 50ms; 0 ends it")
    made.add_argument("--jitter", default="0", metavar="TIME")
    made.add_argument("--loss", type=float, default=0, metavar="PERCENT")


def main(argv: Sequence[str] | None = None) -> None:
    """Do what the command line says."""
    args = parser().parse_args(argv)
    try:
        args.run(args)
    except (TestbedError, OSError) as error:
        sys.exit(f"testbed: {error}")
