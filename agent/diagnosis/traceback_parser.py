"""What a worker's last lines say of its end: the exception, and words of well-known troubles."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

_LATEST = 40  # lines: what stands further up was survived
_HEADER = "Traceback (most recent call last)"
_RANK = re.compile(r"\[[a-z]*\d+\]: ?")  # torch.distributed begins each line of it with "[rank0]: "
_FRAME = re.compile(r'File "([^"]+)", line (\d+)|^\W*(/\S+):(\d+) in ')  # the second is Rich's
_INSIDE = (" ", "\t", "│", "╭", "╰", "|", "+")  # a box is Rich's, a bar an exception group's
_RAISED = re.compile(r"(?:  [|] )?([A-Za-z_][\w.]*(?:: .*)?)$")
_CHAINED = ("During handling of the above exception", "The above exception was the direct cause")
_BESIDE = ("Exception ignored", "--- Logging error ---")  # Python goes on after these
_NO_TRACEBACK = ("SyntaxError: ", "IndentationError: ", "TabError: ")  # in the script itself
_WHAT = re.compile(r"^\s*what\(\):\s*(.*)")  # a C++ exception that nobody caught

_NO_SPACE = re.compile(
    r"No space left on device|Disk quota exceeded|\bErrno (?:28|122)\b|\bENOSPC\b"
    r"|out of shared memory"
)
_NO_SPACE_FOR = re.compile(r"(?:No space left on device|Disk quota exceeded): '([^']+)'")

# What is repeated where the exception says it already: no. What explains it: yes.
_NAMED = [
    (re.compile(r"\b(?:CUDA|HIP)(?: error:)? out of memory|CUDA_ERROR_OUT_OF_MEMORY"
                r"|hipErrorOutOfMemory"), "the GPU is out of memory"),
    (re.compile(r"Address already in use|EADDRINUSE"), "a port is taken by another program"),
    (re.compile(r"Fatal Python error: (.+)"), r"\1"),
]  # fmt: skip
_EXPLAINED = [
    (re.compile(r"Watchdog caught collective operation timeout"),
     "a collective operation timed out: another rank did not take part"),
    (re.compile(r"Connection closed by (?:remote )?peer|ncclRemoteError"),
     "another rank closed the connection: it may have failed before"),
    (re.compile(r"NCCL error|nccl(?:System|Internal|UnhandledCuda)Error"),
     "NCCL failed: NCCL_DEBUG=INFO tells more"),
    (re.compile(r"received \d+ items of ancdata|Too many open files|\bEMFILE\b"),
     "the limit of open files is reached: ulimit -n raises it"),
    (re.compile(r"DataLoader worker .* is killed by signal: "), "a data loader was killed"),
]  # fmt: skip


class Raised(NamedTuple):
    """An exception that ended a traceback: its line, the innermost place, what it came after."""

    text: str
    place: str = ""
    after: str = ""

    def __str__(self) -> str:
        place = f" ({self.place})" if self.place else ""
        return f"{self.text}{place}" + (f", after {self.after}" if self.after else "")


def lines_of(tail: bytes) -> list[str]:
    """A tail as lines: of one drawn several times over the last state, without rank prefixes."""
    lines = tail.decode(errors="replace").split("\n")
    states = (line.rstrip("\r").rpartition("\r")[2] for line in lines)
    return [_RANK.sub("", line, count=1) if line[:1] == "[" else line for line in states]


def exception(lines: Sequence[str]) -> Raised | None:
    """The last complete traceback that is not only a note on the way; else the C++ exception."""
    headers = [number for number, line in enumerate(lines) if _HEADER in line]
    for number in reversed(headers):
        if _line_before(lines, number).startswith(_BESIDE):
            continue
        raised = _read(lines, number)
        if raised is not None:
            return raised._replace(after=_predecessor(lines, headers, number))
    if any(line.startswith(_NO_TRACEBACK) for line in lines):
        files = [number for number, line in enumerate(lines) if line.startswith('  File "')]
        return _read(lines, files[-1] - 1) if files else None
    whats = [found[1] for found in map(_WHAT.match, lines) if found]
    return Raised(whats[-1]) if whats else None


def says_no_space(lines: Sequence[str]) -> bool:
    """True where a full file system or quota is complained of."""
    return any(_NO_SPACE.search(line) for line in lines[-_LATEST:])


def no_space_for(lines: Sequence[str]) -> str:
    """The file that could not be written, where the complaint names it."""
    found = [match[1] for match in map(_NO_SPACE_FOR.search, lines[-_LATEST:]) if match]
    return found[-1] if found else ""


def hint(lines: Sequence[str], raised: str = "") -> str:
    """One well-known trouble in words, unless it stands in ``raised`` in so many words."""
    for pattern, words in [*_EXPLAINED, *_NAMED]:
        for found in filter(None, map(pattern.search, reversed(lines[-_LATEST:]))):
            repeated = (pattern, words) in _NAMED and pattern.search(raised)
            return "" if repeated else found.expand(words)
    return ""


def _read(lines: Sequence[str], header: int) -> Raised | None:
    place = ""
    for number in range(header + 1, len(lines)):
        line = lines[number]
        found = _RAISED.match(line)
        if found:
            return Raised(found[1], place)
        frame = _FRAME.search(line)
        if frame:
            place = f"{frame[1] or frame[3]}:{frame[2] or frame[4]}"
        elif not line.startswith(_INSIDE):
            return None
    return None


def _line_before(lines: Sequence[str], number: int) -> str:
    return next((line for line in reversed(lines[:number]) if line.strip()), "")


def _predecessor(lines: Sequence[str], headers: Sequence[int], number: int) -> str:
    earlier = [header for header in headers if header < number]
    if not earlier or not _line_before(lines, number).startswith(_CHAINED):
        return ""
    before = _read(lines, earlier[-1])
    return before.text if before else ""
