"""A cluster of hosts on one machine, made of Linux namespaces.

Every host has its own network, UTS, mount, PID, IPC and cgroup namespace, its own process 1,
its own sshd on port 22, its own /tmp, /run, /dev, /var/log and ~/.ssh, and a port on a bridge that
lives in a network namespace of its own (the switch). All else is shared, as by NFS.

The command is `scripts/testbed`; what tests use is in `tests/cluster.py`.

| module | what it holds |
| --- | --- |
| `state` | the cluster as data: its hosts, its folder, its lock |
| `kernel` | mount, unshare, commands that have to succeed |
| `cgroups` | one cgroup per host: how all of a host is frozen, killed, and known to be gone |
| `switch` | the network between the hosts |
| `host` | what happens inside a new host before its process 1 runs |
| `files` | keys, hosts files and configuration in the cluster's folder |
| `life` | up, down, start |
| `slurm` | a real Slurm on the hosts |
| `faults` | kill, freeze, partition, delay, and their cures |
| `relay` | the process that carries packets late |
| `processes` | who runs in which host, from one pass over /proc |
| `cli` | the command line |
"""
