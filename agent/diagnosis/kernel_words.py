"""What lines of the kernel's log mean: out-of-memory kills, and errors of GPUs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

# mm/oom_kill.c: the first is printed before the victim gets its signal, but not in a storm of
# kills; the second after it. Before Linux 5.0 the second had no "out of memory" in it.
_CHOSEN = re.compile(r"oom-kill:(?:.*,)?task=(?P<name>.*),pid=(?P<pid>\d+),uid=\d+")
_KILLED = re.compile(
    r"Killed process (?P<pid>\d+),? (?:UID \d+,? )?\((?P<name>.*?)\)"
    r"(?:.*?anon-rss:(?P<held>\d+)kB)?"
)

# "NVRM: Xid (PCI:0000:3b:00): 79, pid=1234, name=python, GPU has fallen off the bus."
_XID = re.compile(
    r"NVRM: Xid \((?:PCI:)?(?P<bus>[0-9a-fA-F:.]+)\): (?P<number>\d+)(?:, pid='?(?P<pid>\d+)'?)?"
    r"(?:, pid=[^,]*)?(?:, name=[^,]*)?(?:, (?P<text>.*))?"
)
_SXID = re.compile(r"nvswitch\S*: SXid \(PCI:(?P<bus>[0-9a-fA-F:.]+)\): (?P<text>.*)")
# https://docs.nvidia.com/deploy/xid-errors/
_XIDS = {
    13: "an exception in the program's kernel",
    31: "an access to memory that is not mapped",
    43: "stopped processing after an error of the program",
    48: "an uncorrectable (double bit) memory error",
    63: "a defect memory row or page was retired; reset the GPU",
    64: "a defect memory row or page could not be retired; reset the GPU",
    74: "an NVLink error",
    79: "has fallen off the bus",
    94: "a contained memory error: only this program is hit",
    95: "an uncontained memory error; reset the GPU",
    119: "its system processor (GSP) does not answer",
    120: "its system processor (GSP) failed",
}
_OF_A_PROGRAM = {13, 31, 43}  # these are about the process they name, and about no other
_CLEANUP = 45  # follows any other error, and any death of a program that used the GPU

_AMD = re.compile(r"amdgpu (?P<bus>[0-9a-f]{4}:[0-9a-f:.]+): (?P<text>.*)")
_AMD_WORDS = [
    (re.compile(r"(ring \S+) timeout"), r"\1 timed out"),
    (re.compile(r"page fault"), "an access to memory that is not mapped"),
    (re.compile(r"uncorrectable (?:hardware )?errors? detected"), "uncorrectable errors (RAS)"),
    (re.compile(r"GPU reset begin"), "was reset by its driver"),
    (re.compile(r"GPU is lost|device lost from bus"), "has fallen off the bus"),
]


class Victim(NamedTuple):
    """A process that the kernel killed; ``held`` is its own memory in bytes, 0 if not told."""

    pid: int
    name: str
    held: int = 0


def oom_victims(lines: Sequence[str]) -> dict[int, Victim]:
    """Who was killed for want of memory, by process id *of the initial namespace*.

    >>> oom_victims(["Out of memory: Killed process 17 (python) total-vm:9kB, anon-rss:4kB, x"])
    {17: Victim(pid=17, name='python', held=4096)}
    """
    victims: dict[int, Victim] = {}
    for line in lines:
        found = _KILLED.search(line) or _CHOSEN.search(line)
        if found is not None:
            pid, held = int(found["pid"]), found.groupdict().get("held")
            before = victims.get(pid)
            size = 1024 * int(held) if held else before.held if before else 0
            victims[pid] = Victim(pid, found["name"], size)
    return victims


def gpu_errors(lines: Sequence[str], pid: int = 0) -> list[str]:
    """Each GPU error once, in words, in order; ``pid`` 0: process ids there are not like ours.

    >>> gpu_errors(["NVRM: Xid (PCI:0000:3b:00): 79, GPU has fallen off the bus."])
    ['GPU 0000:3b:00: Xid 79, has fallen off the bus']
    """
    errors: dict[str, None] = {}
    for line in lines:
        words = _nvidia(line, pid) or _amd(line)
        if words:
            errors[words] = None
    return list(errors)


def _nvidia(line: str, pid: int) -> str:
    found = _XID.search(line)
    if found is None:
        switch = _SXID.search(line)
        return f"NVSwitch {switch['bus']}: SXid {switch['text']:.60}" if switch else ""
    number = int(found["number"])
    if number == _CLEANUP:
        return ""
    if number in _OF_A_PROGRAM and pid and found["pid"] and int(found["pid"]) != pid:
        return ""
    meaning = _XIDS.get(number) or (found["text"] or "")[:60].rstrip()
    return f"GPU {found['bus']}: Xid {number}" + (f", {meaning}" if meaning else "")


def _amd(line: str) -> str:
    device = _AMD.search(line)
    for pattern, words in _AMD_WORDS if device else ():
        found = pattern.search(line)
        if found and device:
            return f"GPU {device['bus']}: {found.expand(words)}"
    return ""
