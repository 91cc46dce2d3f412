"""Slurm on the hosts: slurmctld on the head, slurmd on every node, munge on each.

The nodes pose as larger machines than they are, and their fake GPUs are what a job may ask for.
Limits are short: a node that does not answer is down after seconds, not minutes.
"""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

from testbed import cgroups, state
from testbed.kernel import SYSTEM_PATH, TestbedError, command
from testbed.state import HEAD_ADDRESS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from testbed.state import Cluster, Host

LIMIT = 90.0  # seconds for all nodes to be idle
READY = {"idle", "mix", "alloc"}

# Run by `up`, and by process 1 of a host that boots again: $1 is the host's folder.
BOOT = """\
base=${1%/hosts/*}
mkdir -p /run/munge /run/slurm "$1/slurmd"
munged --num-threads=2 --key-file="$base/munge/munge.key" --socket=/run/munge/munge.socket.2 \\
    --pid-file=/run/munge/munged.pid --log-file=/var/log/munged.log --seed-file=/run/munge/seed \\
    || exit
if [ "$(cat "$1/hostname")" = head ]; then exec slurmctld; else exec slurmd; fi
"""

CONF = {
    "ClusterName": "testbed",
    "SlurmctldHost": f"head({HEAD_ADDRESS})",
    "SlurmUser": "root",
    "SlurmdUser": "root",
    "StateSaveLocation": "{base}/slurm/ctld",
    "SlurmdSpoolDir": "{base}/hosts/%n/slurmd",
    "SlurmctldPidFile": "/run/slurm/slurmctld.pid",
    "SlurmdPidFile": "/run/slurm/slurmd.pid",
    "SlurmctldLogFile": "/var/log/slurmctld.log",
    "SlurmdLogFile": "/var/log/slurmd.log",
    # Not by cgroups: their names are those of the nodes, and another testbed has the same.
    "ProctrackType": "proctrack/linuxproc",
    "TaskPlugin": "task/none",
    "SelectType": "select/cons_tres",
    "SelectTypeParameters": "CR_CPU",
    "SlurmdParameters": "config_overrides",
    "MpiDefault": "none",
    "ReturnToService": "2",
    "SlurmdTimeout": "10",
    "SlurmctldTimeout": "10",
    "KillWait": "5",
    "MinJobAge": "300",
    "SchedulerParameters": "bf_interval=1,sched_interval=1,batch_sched_delay=0",
}


def up(base: str, *, cpus: int, lines: Sequence[str]) -> None:
    """Start Slurm on hosts that are up. LINES (`Key=Value`) go before the defaults of slurm.conf.

    Returns when every node is idle.
    """
    cluster = state.load(base)
    folder = Path(cluster.base, "slurm")
    if (folder / "boot").exists():
        raise TestbedError(f"Slurm is up under {base} already")
    (folder / "ctld").mkdir(mode=0o700)
    settings = CONF | dict(line.split("=", 1) for line in lines)
    (folder / "slurm.conf").write_text(_conf(cluster, settings, cpus))
    (folder / "gres.conf").write_text(_gres(cluster.gpus))
    (folder / "cgroup.conf").touch()
    key = Path(cluster.base, "munge", "munge.key")
    key.touch(0o600)
    key.write_bytes(os.urandom(128))
    (folder / "boot").write_text(BOOT)
    starting = [_boot(cluster, host) for host in cluster.hosts.values()]
    failed = [name for name, process in starting if process.wait()]
    if failed:
        raise TestbedError(f"Slurm does not start on {failed}: see their console.log")
    _await_idle(cluster)


def _conf(cluster: Cluster, settings: dict[str, str], cpus: int) -> str:
    lines = [f"{key}={value.replace('{base}', cluster.base)}" for key, value in settings.items()]
    gpus = ""
    if cluster.gpus:
        lines.append("GresTypes=gpu")
        gpus = f" Gres=gpu:{cluster.gpus}"
    for name in cluster.nodes():
        lines.append(
            f"NodeName={name} NodeAddr={cluster.hosts[name].ip} CPUs={cpus} RealMemory=16000{gpus}"
        )
    nodes = ",".join(cluster.nodes())
    lines.append(f"PartitionName=all Nodes={nodes} Default=YES MaxTime=INFINITE State=UP")
    return "\n".join(lines) + "\n"


def _gres(gpus: int) -> str:
    return "".join(f"Name=gpu File=/dev/nvidia{index}\n" for index in range(gpus))


def _boot(cluster: Cluster, host: Host) -> tuple[str, subprocess.Popen[bytes]]:
    folder = cluster.folder(host.name)
    enter = ["nsenter", "-t", str(host.pid), "-a", "--wdns=/"]
    clean = ["env", "-i", f"PATH={SYSTEM_PATH}", "HOME=/root", "setsid", "-w"]
    argv = [*enter, *clean, "sh", f"{cluster.base}/slurm/boot", folder]
    with open(f"{folder}/console.log", "ab") as log:
        process = subprocess.Popen(
            cgroups.joining(cluster.host_cgroup(host.name), *argv),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    return host.name, process


def _await_idle(cluster: Cluster) -> None:
    head = ["nsenter", "-t", str(cluster.hosts["head"].pid), "-a", "--wdns=/"]
    end = time.monotonic() + LIMIT
    while True:
        rows = command(*head, "sinfo", "-h", "-N", "-o", "%N %t").splitlines()
        states = dict(row.split() for row in rows)
        waiting = [name for name in cluster.nodes() if states.get(name) not in READY]
        if not waiting:
            return
        if time.monotonic() > end:
            raise TestbedError(f"Slurm's nodes are not idle after {LIMIT:g} s: {states}")
        time.sleep(0.05)
