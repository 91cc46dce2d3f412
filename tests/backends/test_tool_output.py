"""What the tools print, with the words they really use: whose line means what."""

from __future__ import annotations

import pytest

from madrun.backends import mpich, pdsh
from madrun.backends.srun import tool as srun
from madrun.backends.tools.tool import Tool
from madrun.backends.tools.tool_output import Ended, Started, Words
from madrun.hosts.hostfile import Host
from madrun.wire.key_line import GoneLine, KeyLine

HOSTS = [Host("node01", (0,)), Host("root@node02.site", (0,)), Host("node03", (0,))]
KEY = KeyLine(1, "0.1", "ab" * 32, address="10.0.0.2")
NAMED = KeyLine(-1, "0.1", "cd" * 32, "node02.site")
PYTHON = "/opt/python3"
MPICH, PDSH = mpich.TOOL, pdsh.TOOL


def told(text: str | bytes, tool: Tool = MPICH) -> list[Started | Ended]:
    """What the lines of a tool's output say."""
    words = Words(HOSTS, PYTHON, tool)
    data = text.encode() if isinstance(text, str) else text
    return [each for line in data.splitlines(keepends=True) if (each := words.take(line))]


@pytest.mark.parametrize("line", [KEY, NAMED], ids=["by rank", "by name"])
def test_an_agent_that_starts_and_ends(line: KeyLine) -> None:
    gone = GoneLine(line.node_rank, line.host, -9, "its guard was killed")
    assert told(b"noise\n" + line.encode() + b"more\n" + gone.encode()) == [
        Started(1, line),
        Ended(1, "the agent died of signal 9: its guard was killed", was_started=True),
    ]


def test_in_front_of_it_pdsh_puts_the_host_and_mpirun_ends_lines_as_a_terminal() -> None:
    bare = KEY.encode().lstrip()
    assert told(b"node02: " + bare, PDSH) == [Started(1, KEY)]
    assert told(bare.replace(b"\n", b"\r\n")) == [Started(1, KEY)]


def test_a_line_counts_for_the_host_in_front_of_it_only() -> None:
    """A host that claims to be another one is not heard, and the other one still is."""
    named = NAMED.encode().lstrip()
    gone = GoneLine(NAMED.node_rank, NAMED.host, 0).encode().lstrip()
    lines = [b"node01: " + named, named, b"node02: " + named, b"node03: " + gone]
    assert told(b"".join(lines), PDSH) == [Started(1, NAMED)]
    assert told(b"node03: " + KEY.encode().lstrip(), PDSH) == []


def test_nothing_is_told_twice() -> None:
    again = KEY._replace(key="ef" * 32)
    gone = GoneLine(1, "", 0).encode()
    assert len(told(KEY.encode() + again.encode() + gone + gone)) == 2


@pytest.mark.parametrize(
    "line", [KeyLine(3, "0.1", "ab" * 32), KeyLine(-1, "0.1", "ab" * 32, "stranger")]
)
def test_strangers_are_not_heard(line: KeyLine) -> None:
    assert told(line.encode()) == []
    assert told(GoneLine(line.node_rank, line.host, 1).encode()) == []
    assert told(GoneLine(1, "", 1).encode()) == [], "nor is an end without a start"


@pytest.mark.parametrize(
    ("said", "node_rank", "reason"),
    [
        ("ssh: connect to host node03 port 22: No route to host", 2, "unreachable: No route to"),
        (
            "ssh: Could not resolve hostname node02.site: Name or service not known",
            1,
            "unreachable: the name cannot be resolved: Name or service not known",
        ),
        (
            "bob@node01: Permission denied (publickey,password).",
            0,
            "authentication refused: Permission denied (publickey,password)",
        ),
        (
            "No ED25519 host key is known for node03 and you have requested strict checking.",
            2,
            "host key unknown, and you have requested strict checking",
        ),
        (
            "Host key for node01 has changed and you have requested strict checking.",
            0,
            "host key changed",
        ),
        (
            "kex_exchange_identification: Connection closed by remote host\n"
            "Connection closed by node03 port 22",
            2,
            "its sshd closed the connection (port 22)",
        ),
    ],
)
def test_what_ssh_says_of_a_host(said: str, node_rank: int, reason: str) -> None:
    for text, tool in ((said, MPICH), (said.replace("ssh:", "node03: ssh:"), PDSH)):
        (event,) = told(text + "\n", tool)
        assert isinstance(event, Ended)
        assert (event.node_rank, event.was_started) == (node_rank, False)
        assert event.reason.startswith(reason)


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (
            "node03: /usr/bin/env: '/opt/python3': No such file or directory\n"
            "pdsh@head: node03: ssh exited with exit code 127\n",
            "interpreter /opt/python3 is not found there",
        ),
        (
            "node03: /opt/python3: No module named madrun\n"
            "pdsh@head: node03: ssh exited with exit code 1\n",
            "madrun is not installed for /opt/python3 there",
        ),
        (
            "node03: something else\npdsh@head: node03: ssh exited with exit code 4\n",
            "the agent did not start: exit status 4: something else",
        ),
    ],
)
def test_pdsh_says_how_each_ssh_ended(said: str, reason: str) -> None:
    (event,) = told(said, PDSH)
    assert isinstance(event, Ended)
    assert event.node_rank == 2
    assert event.reason.startswith(reason)


def test_of_a_message_between_rulers_the_beginning_is_shown() -> None:
    words = Words(HOSTS, PYTHON, MPICH)
    ruler = b"-" * 74 + b"\n"
    lines = [b"before\n", ruler, *(f"line {n}\n".encode() for n in range(20)), ruler]
    for line in lines:
        assert words.take(line) is None
    assert words.told() == ["line 0", "line 1", "line 2"]


def test_the_last_words_of_the_tool_itself_are_kept() -> None:
    words = Words(HOSTS, PYTHON, PDSH)
    for number in range(20):
        assert words.take(f"pdsh@head: line {number}\n".encode()) is None
    assert words.take(b"node01: of a host\n") is None
    assert words.told() == [f"pdsh@head: line {number}" for number in (17, 18, 19)]


@pytest.mark.parametrize("how", ["CPU time limit exceeded (core dumped)", "Killed"])
def test_an_agent_that_died_before_its_first_word_is_named_under_slurm(how: str) -> None:
    words = Words(HOSTS, PYTHON, srun.TOOL)
    died = f"srun: error: node02: task 1: {how}\n".encode()
    assert words.take(died) == Ended(1, f"the agent did not start: {how}", False)


def test_what_slurm_says_of_the_end_of_a_step_does_not_push_its_reason_away() -> None:
    words = Words(HOSTS, PYTHON, srun.TOOL)
    reason = "/usr/bin/env: '/opt/python3': No such file or directory"
    cancelled = (
        "slurmstepd-node01: error: *** STEP 23.0 ON node01 CANCELLED AT 2026-11-21T21:08 ***"
    )
    for line in (
        reason,
        "srun: error: node02: task 1: Exited with exit code 127",
        cancelled,
        "srun: error: node01: task 0: Terminated",
        "srun: error: node03: task 2: Terminated",
        "srun: Force Terminated StepId=23.0",
    ):
        assert words.take(line.encode() + b"\n") is None
    assert words.told() == [reason, cancelled]
