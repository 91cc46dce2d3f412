"""Inside a new host: from a bare set of namespaces to process 1."""

from __future__ import annotations

import contextlib
import os
import pwd
import stat
import subprocess
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from testbed.kernel import (
    MS_MOVE,
    MS_NODEV,
    MS_NOSUID,
    MS_PRIVATE,
    MS_REC,
    SYSTEM_PATH,
    bind,
    mount,
    set_hostname,
)

if TYPE_CHECKING:
    from testbed.state import Cluster, Host

PRIVATE = {"/run": 0o755, "/var/tmp": 0o1777, "/tmp": 0o1777}
SHELL_FILES = (".bashrc", ".profile", ".bash_profile", ".ssh/rc")


def become(cluster: Cluster, host: Host, go: int) -> NoReturn:
    """Process 1 of a host: wait for the network, set the host up, become init."""
    try:
        _redirect(cluster.folder(host.name))
        if os.read(go, 1) != b"g":
            os._exit(1)
        os.closerange(3, 256)
        os.setsid()
        set_hostname(host.name)
        os.chdir("/")
        _file_systems(cluster, host)
        _network(host)
        home = pwd.getpwuid(0).pw_dir
        env = {"PATH": SYSTEM_PATH, "HOME": home, "SHELL": "/bin/sh", "USER": "root"}
        os.execve("/bin/sh", ["init", f"{cluster.base}/init", cluster.folder(host.name)], env)
    except BaseException:
        traceback.print_exc()
        os._exit(1)


def _redirect(folder: str) -> None:
    null = os.open("/dev/null", os.O_RDONLY)
    log = os.open(f"{folder}/console.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(null, 0)
    os.dup2(log, 1)
    os.dup2(log, 2)


def _file_systems(cluster: Cluster, host: Host) -> None:
    mount("none", "/", flags=MS_REC | MS_PRIVATE)
    _home(cluster)
    _proc_and_sys()
    _private_dev(cluster, host)
    for path, mode in PRIVATE.items():
        _private_tmpfs(cluster, host, path, mode)
    for folder in ("/run/sshd", "/run/lock", "/run/user"):
        os.mkdir(folder)
    Path("/run/utmp").touch()
    folder = cluster.folder(host.name)
    bind(f"{folder}/log", "/var/log")
    bind(f"{cluster.base}/hosts_file", "/etc/hosts")
    for source, target in [
        (f"{folder}/hostname", "/etc/hostname"),
        (f"{cluster.base}/resolv.conf", os.path.realpath("/etc/resolv.conf")),
        (f"{cluster.base}/slurm", "/etc/slurm"),  # filled by `slurm`
        (f"{cluster.base}/munge", "/etc/munge"),
    ]:
        if os.path.exists(target):
            bind(source, target)


def _home(cluster: Cluster) -> None:
    """Hide what the machine's own user has set up for ssh and the shell."""
    home = pwd.getpwuid(0).pw_dir
    bind(f"{cluster.base}/ssh", f"{home}/.ssh")
    for name in SHELL_FILES:
        if os.path.exists(f"{home}/{name}"):
            bind(f"{cluster.base}/shrc", f"{home}/{name}")


def _proc_and_sys() -> None:
    """Fresh /proc and /sys, which show this host; the cgroup file system stays."""
    cgroups = os.open("/sys/fs/cgroup", os.O_PATH)
    mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV)
    mount("sysfs", "/sys", "sysfs", MS_NOSUID | MS_NODEV)
    bind(f"/proc/self/fd/{cgroups}", "/sys/fs/cgroup", deep=True)
    os.close(cgroups)


def _private_tmpfs(cluster: Cluster, host: Host, path: str, mode: int) -> None:
    """An empty tmpfs on PATH, in which the shared folders below PATH stay visible."""
    stage = f"{cluster.folder(host.name)}/stage"
    mount("tmpfs", stage, "tmpfs", MS_NOSUID | MS_NODEV, f"mode={mode:o}")
    for folder in cluster.shared:
        if folder.startswith(f"{path}/"):
            inner = stage + folder[len(path) :]
            os.makedirs(inner, exist_ok=True)
            bind(folder, inner)
    mount(stage, path, flags=MS_MOVE)


def _private_dev(cluster: Cluster, host: Host) -> None:
    stage = f"{cluster.folder(host.name)}/stage"
    mount("tmpfs", stage, "tmpfs", MS_NOSUID, "mode=755")
    _device_files(stage, cluster.gpus)
    links = {"ptmx": "pts/ptmx", "fd": "/proc/self/fd"}
    links |= {"stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2"}
    for name, target in links.items():
        os.symlink(target, f"{stage}/{name}")
    os.mkdir(f"{stage}/pts")
    os.mkdir(f"{stage}/shm")
    terminals = "newinstance,ptmxmode=0666,mode=0620,gid=5"
    mount("devpts", f"{stage}/pts", "devpts", MS_NOSUID, terminals)
    mount("tmpfs", f"{stage}/shm", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777")
    mount(stage, "/dev", flags=MS_MOVE)


def _device_files(folder: str, gpus: int) -> None:
    """The usual ones, and GPUs that are there but that nothing can open."""
    numbers = {"null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9)}
    numbers |= {"tty": (5, 0)} | {f"nvidia{i}": (195, i) for i in range(gpus)}
    if gpus:
        numbers["nvidiactl"] = (195, 255)
    mask = os.umask(0)
    for name, (major, minor) in numbers.items():
        os.mknod(f"{folder}/{name}", 0o666 | stat.S_IFCHR, os.makedev(major, minor))
    os.umask(mask)


def _network(host: Host) -> None:
    with contextlib.suppress(OSError):  # no IPv6 in this kernel
        Path("/proc/sys/net/ipv6/conf/eth0/disable_ipv6").write_text("1\n")
    lines = ["link set lo up", f"address add {host.ip}/16 brd + dev eth0", "link set eth0 up"]
    subprocess.run(["ip", "-batch", "-"], input="\n".join(lines).encode() + b"\n", check=True)
