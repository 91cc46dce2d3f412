"""The files of a cluster's folder: keys, names, and what sshd and init read."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from testbed.kernel import TestbedError
from testbed.state import NETWORK

if TYPE_CHECKING:
    from testbed.state import Cluster

INIT = """\
# Process 1 of a host. The shell reaps every orphan while it waits.
"$(command -v sshd)" -D -f "$1/sshd_config" -E "$1/log/sshd.log" &
if [ -e "${1%/hosts/*}/slurm/boot" ]; then sh "${1%/hosts/*}/slurm/boot" "$1" & fi
wait
while :; do sleep 1000000 & wait; done
"""

SSHD = """\
Port 22
HostKey {folder}/ssh_host_ed25519_key
PidFile /run/sshd.pid
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM yes
PrintMotd no
AcceptEnv LANG LC_*
Subsystem sftp internal-sftp
"""

SSH = """\
Host head node* {network}.*
  User root
  IdentityFile {base}/ssh/id_ed25519
  IdentitiesOnly yes
  UserKnownHostsFile {base}/ssh/known_hosts
"""


def write(cluster: Cluster, sshd_lines: list[str]) -> None:
    """Fill the cluster's folder. SSHD_LINES (`Key=Value`) go before sshd's defaults."""
    base = Path(cluster.base)
    for name in ("ssh", "share", "slurm", "munge"):
        (base / name).mkdir()
    for name in ("ssh", "munge"):
        (base / name).chmod(0o700)
    for name in cluster.hosts:
        for part in ("log", "stage"):
            Path(cluster.folder(name), part).mkdir(parents=True)
    _make_keys(cluster)
    (base / "init").write_text(INIT)
    (base / "resolv.conf").touch()
    (base / "shrc").touch()  # every host's .bashrc: write into it, never replace it
    (base / "ssh_config").write_text(SSH.format(base=base, network=NETWORK))
    names = [f"{host.ip} {host.name}\n" for host in cluster.hosts.values()]
    (base / "hosts_file").write_text("127.0.0.1 localhost\n" + "".join(names))
    first = "".join(line.replace("=", " ", 1) + "\n" for line in sshd_lines)
    for name in cluster.hosts:
        folder = Path(cluster.folder(name))
        (folder / "hostname").write_text(f"{name}\n")
        (folder / "sshd_config").write_text(first + SSHD.format(folder=folder))


def _make_keys(cluster: Cluster) -> None:
    """One key for the user, one for each host, and everyone knows and trusts them."""
    ssh = Path(cluster.base, "ssh")
    host_keys = {name: f"{cluster.folder(name)}/ssh_host_ed25519_key" for name in cluster.hosts}
    makers = [
        subprocess.Popen(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", path])
        for path in [str(ssh / "id_ed25519"), *host_keys.values()]
    ]
    statuses = [maker.wait() for maker in makers]
    if any(statuses):
        raise TestbedError("ssh-keygen failed")
    shutil.copy(ssh / "id_ed25519.pub", ssh / "authorized_keys")
    known = ssh / "known_hosts"
    known.touch(0o600)
    with known.open("w") as file:
        for name, path in host_keys.items():
            kind, key = Path(f"{path}.pub").read_text().split()[:2]
            file.write(f"{name},{cluster.hosts[name].ip} {kind} {key}\n")
