"""Counters and log of a kernel, in folders that look like its own."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from madrun.agent.diagnosis.kernel_events import KernelEvents
from madrun.agent.diagnosis.kernel_log import KernelLog
from madrun.agent.diagnosis.memory_kills import Kills, MemoryKills, memory_groups

V1 = (
    "9:pids:/\n4:memory:/job\n0::/\n",
    "35 31 0:32 / /cg/memory rw - cgroup cgroup rw,memory\n"
    "41 31 0:38 / /cg/unified rw - cgroup2 cgroup2 rw\n",
    "cg/memory/job",
    "memory.oom_control",
)
V2 = (
    "0::/slice/job\n",
    "41 31 0:38 / /cg rw shared:4 - cgroup2 cgroup2 rw\n",
    "cg/slice/job",
    "memory.events",
)
DOCKER_V1 = (
    "4:memory:/docker/ab\n",
    "35 31 0:32 /docker/ab /cg rw - cgroup cgroup rw,memory\n",
    "cg",
    "memory.oom_control",
)
NAMESPACE = ("0::/\n", "41 31 0:38 / /cg rw - cgroup2 cgroup2 rw\n", "cg", "memory.events")
OUTSIDE = ("0::/../other\n", "41 31 0:38 / /cg rw - cgroup2 cgroup2 rw\n", "cg", "memory.events")
KINDS = {"v1": V1, "v2": V2, "docker": DOCKER_V1, "namespace": NAMESPACE, "outside": OUTSIDE}
LIMITS = {"memory.events": "memory.max", "memory.oom_control": "memory.limit_in_bytes"}
KILLED = (
    "6,1,2,-;Memory cgroup out of memory: Killed process 77 (python) x, anon-rss:2097152kB, y\n"
)


class Kernel:
    """A root folder with the files that are read."""

    def __init__(self, root: Path, kind: tuple[str, str, str, str], ids: bool = True) -> None:
        self.root = root
        membership, mounts, group, self.counter = kind
        self.group = root / group
        self.group.mkdir(parents=True)
        (root / "dev").mkdir()
        (root / "proc/self/ns").mkdir(parents=True)
        (root / "proc/self/ns/pid").symlink_to("pid:[4026531836]" if ids else "pid:[17]")
        (root / "proc/self/cgroup").write_text(membership)
        (root / "proc/self/mountinfo").write_text(mounts)
        (root / "dev/kmsg").write_text("6,0,1,-;Out of memory: Killed process 77 (before)\n")
        self.count(group=3, host=9)

    def count(self, group: int, host: int) -> None:
        (self.group / self.counter).write_text(f"low 0\noom 7\noom_kill {group}\n")
        (self.root / "proc/vmstat").write_text(f"nr_free_pages 1\noom_kill {host}\n")

    def say(self, text: str) -> None:
        with open(self.root / "dev/kmsg", "a") as file:
            file.write(text)

    def limit(self, folder: Path, value: str) -> None:
        (folder / LIMITS[self.counter]).write_text(value + "\n")


MakeKernel = Callable[..., Kernel]


@pytest.fixture
def kernel(tmp_path: Path) -> MakeKernel:
    return lambda kind=V2, ids=True: Kernel(tmp_path, kind, ids)


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_counters(kernel: MakeKernel, kind: tuple[str, str, str, str]) -> None:
    fake = kernel(kind)
    kills = MemoryKills(str(fake.root))
    assert kills.since() == Kills(0, 0)
    fake.count(group=4, host=11)
    assert kills.since() == Kills(1, 2)
    assert kills.limit() == 0
    fake.limit(fake.group, "9223372036854771712" if "oom" in fake.counter else "max")
    assert kills.limit() == 0
    fake.limit(fake.group, str(1 << 30))
    assert kills.limit() == 1 << 30


def test_the_smallest_limit_counts(kernel: MakeKernel) -> None:
    fake = kernel(V2)
    fake.limit(fake.group, "max")
    fake.limit(fake.group.parent, "4096")
    assert MemoryKills(str(fake.root)).limit() == 4096


def test_the_cgroup_above_counts_where_ours_has_no_counter(kernel: MakeKernel) -> None:
    fake = kernel(V2)
    (fake.group / fake.counter).rename(fake.group.parent / fake.counter)
    assert MemoryKills(str(fake.root)).since().group == 0


def test_nothing_there(tmp_path: Path) -> None:
    kills = MemoryKills(str(tmp_path))
    assert (kills.since(), kills.limit()) == (Kills(None, None), 0)


def test_this_machine() -> None:
    assert all(os.path.isdir(each) for each in memory_groups("/"))


def test_only_what_is_new_is_read(kernel: MakeKernel) -> None:
    fake = kernel()
    log = KernelLog(str(fake.root / "dev/kmsg"))
    assert log.lines() == []
    fake.say("6,7,8,-;br0: port 3 entered disabled state\n" + KILLED + " SUBSYSTEM=NVRM\n")
    assert log.lines() == [KILLED.strip().partition(";")[2]]
    fake.say("4,8,9,-;NVRM: Xid\n")
    assert log.lines()[1:] == ["NVRM: Xid"]
    log.close()
    assert not log.readable


def test_a_log_that_may_not_be_read() -> None:
    log = KernelLog("/no/such/kmsg")
    assert (log.readable, log.lines()) == (False, [])
    log.close()


def test_the_log_of_this_machine() -> None:
    log = KernelLog()
    assert isinstance(log.lines(), list)
    log.close()


NOT_IT = "not the kernel's out-of-memory killer: some process sent the signal"
PERHAPS = "out of memory? dmesg tells"
IT = "out of memory: the kernel killed it"


@pytest.mark.parametrize(
    ("status", "added", "said", "words"),
    [
        (-9, (1, 1), KILLED, f"{IT} at 2.0 GiB; its cgroup may have 3.0 GiB"),
        (-9, (0, 1), KILLED, f"{IT} at 2.0 GiB"),
        (-9, (1, 1), "", f"{IT}; its cgroup may have 3.0 GiB"),
        (-9, (1, 1), KILLED.replace("77", "78"), f"{IT}; its cgroup may have 3.0 GiB"),
        (-9, (0, 0), "", NOT_IT),
        (-9, (0, 1), KILLED.replace("77", "78"), ""),
        (1, (0, 0), "", ""),
        (1, (0, 1), "", ""),
        (1, (1, 1), KILLED.replace("77", "78"),
         "out of memory: the kernel killed a process of the job; its cgroup may have 3.0 GiB"),
        (-15, (0, 1), "", ""),
    ],
)  # fmt: skip
def test_memory_words(
    kernel: MakeKernel, status: int, added: tuple[int, int], said: str, words: str
) -> None:
    fake = kernel()
    fake.limit(fake.group, str(3 << 30))
    news = KernelEvents(str(fake.root))
    fake.count(group=3 + added[0], host=9 + added[1])
    fake.say(said)
    assert news.memory_words(77, status) == words
    news.close()


def test_in_a_container_process_ids_of_the_log_mean_nothing(kernel: MakeKernel) -> None:
    fake = kernel(ids=False)
    news = KernelEvents(str(fake.root))
    fake.say(KILLED)
    assert news.memory_words(77, -9) == NOT_IT
    fake.count(group=3, host=10)
    assert news.memory_words(77, -9) == ""
    fake.count(group=4, host=10)
    assert news.memory_words(77, -9) == IT
    news.close()


def test_what_cannot_be_known_is_not_claimed(tmp_path: Path, kernel: MakeKernel) -> None:
    news = KernelEvents(str(tmp_path / "none"))
    assert (news.memory_words(77, -9), news.gpu_words(77)) == (PERHAPS, [])
    fake = kernel()
    (fake.root / "dev/kmsg").unlink()
    news = KernelEvents(str(fake.root))
    fake.count(group=3, host=10)
    assert news.memory_words(77, -9) == PERHAPS


def test_gpu_words(kernel: MakeKernel) -> None:
    fake = kernel()
    news = KernelEvents(str(fake.root))
    fake.say("4,9,9,-;NVRM: Xid (PCI:0000:3b:00): 31, pid=78, name=python, Ch 1\n")
    assert news.gpu_words(77) == []
    assert news.gpu_words(78) != []
    news.close()
