from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from madrun.hosts.hostfile import Host, checked_name, parse_hostfile, parse_hosts, read_hostfile
from madrun.system.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("line", "host"),
    [
        ("w0 slots=4", Host("w0", (0, 1, 2, 3))),
        ("  w0\t slots=2\r", Host("w0", (0, 1))),
        ("w0 slots=1#note", Host("w0", (0,))),
        ("w0 slots=2 max_slots=8", Host("w0", (0, 1))),
        ("w0 slots=2 max-slots=8", Host("w0", (0, 1))),
        ("w0 port=2222 slots=1", Host("w0", (0,), 2222)),
        ("w0 devices=0,2,5", Host("w0", (0, 2, 5))),
        ("w0 devices=3,1", Host("w0", (3, 1))),
        ("w0 devices=0-3,6 slots=5", Host("w0", (0, 1, 2, 3, 6))),
        ("alice@w0 slots=1", Host("alice@w0", (0,))),
        ("w0.example.org slots=1", Host("w0.example.org", (0,))),
        ("10.0.0.7 slots=1", Host("10.0.0.7", (0,))),
        ("fd00::1 slots=1", Host("fd00::1", (0,))),
        ("[fd00::1] slots=1", Host("fd00::1", (0,))),
        ("a@[fe80::1%eth0] slots=1", Host("a@fe80::1%eth0", (0,))),
        ("\ufeffw0 slots=1", Host("w0", (0,))),
    ],
)
def test_reads_a_line(line: str, host: Host) -> None:
    assert parse_hostfile(line, "hosts.txt") == (host,)


def test_ranges_carry_the_settings_of_their_line() -> None:
    hosts = parse_hostfile("a@n[01-02] slots=2 port=22\r\n\r\nbig slots=1\r\n", "f")
    assert hosts == (
        Host("a@n01", (0, 1), 22),
        Host("a@n02", (0, 1), 22),
        Host("big", (0,)),
    )


@pytest.mark.parametrize(
    ("name", "user", "address"),
    [("a@n1", "a", "n1"), ("n1", None, "n1"), ("a@fd00::1", "a", "fd00::1")],
)
def test_user_and_address(name: str, user: str | None, address: str) -> None:
    assert (Host(name, (0,)).user, Host(name, (0,)).address) == (user, address)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("w0 slots=0", "slots must be a whole number of at least 1"),
        ("w0 slots=-1", "slots must be"),
        ("w0 slots=4.5", "slots must be"),
        ("w0 slots=4abc", "slots must be"),
        ("w0 slots=٤", "slots must be"),
        ("w0 slots=", "slots must be"),
        ("w0 slots=99999999999999", "slots must be"),
        ("w0 slots=" + "9" * 9000, "slots must be"),
        ("w0 slots = 4", "'slots' is not key=value"),
        ("w0 SLOTS=4", "unknown key 'SLOTS'"),
        ("w0 gres=4 slots=4", "unknown key 'gres'"),
        ("w0 slots=4 slots=4", "slots is given twice"),
        ("w0 slots=4 junk", "'junk' is not key=value"),
        ("w0:4", "in a hostfile that reads: w0 slots=4"),
        ("w0:4 slots=4", "is not a host name"),
        ("-oProxyCommand=id slots=1", "is not a host name"),
        ("a@-b slots=1", "is not a host name"),
        ("-a@b slots=1", "is not a user name"),
        ("@b slots=1", "is not a user name"),
        ("a@b@c slots=1", "is not a user name"),
        ("a; slots=1", "is not a host name"),
        ("$(id) slots=1", "is not a host name"),
        ("w\x1b[31m slots=1", "brackets"),
        ("w0\xa0slots=4", "is not a host name"),
        ("n[4-1] slots=8", "runs backwards"),
        ("n[1-4 slots=8", "brackets"),
        ("n[1-99999999] slots=1", "more than 65536"),
        ("fd00:::1 slots=1", "is not a host name"),
        ("[w0] slots=1", "is not a range"),
        ("fe80::1%;id slots=1", "is not a host name"),
        ("w0 port=0 slots=1", "port must be"),
        ("w0 port=65536 slots=1", "port must be"),
        ("w0 max_slots=x slots=1", "max_slots must be"),
        ("w0 devices=0,0", "device 0 is named twice"),
        ("w0 devices=3-1", "runs backwards"),
        ("w0 devices=", "devices must be"),
        ("w0 devices=0-9999999", "devices must be"),
        ("w0 devices=GPU-1", "devices must be"),
        ("w0 devices=0,1 slots=3", "slots=3, but devices names 2"),
        ("w0 slots=1\rw1 port=1", "slots must be"),
        ("w0 " + "x" * 100_000, "longer than 65536"),
    ],
)
def test_refuses_a_line_with_its_number_and_text(line: str, reason: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_hostfile(f"# first\nok slots=1\n{line}\n", "hosts.txt")
    message = str(caught.value)
    assert message.startswith(f"hosts.txt:3: {line[:4]!r}"[:-1])
    assert reason in message
    assert message.isprintable()
    assert len(message) < 400


def test_the_message_in_full() -> None:
    with pytest.raises(InputError) as caught:
        parse_hostfile("a slots=1\n\nw0 slots=0\n", "hosts.txt")
    assert str(caught.value) == (
        "hosts.txt:3: 'w0 slots=0': slots must be a whole number of at least 1 and at most 4096"
    )


def test_duplicates_say_where_the_first_one_is() -> None:
    with pytest.raises(InputError, match=r"f:3: 'n2 slots=1': host n2 is named already in line 1"):
        parse_hostfile("n[1-3] slots=1\n\nn2 slots=1", "f")


@pytest.mark.parametrize("text", ["", "\n  \n", "# a\n#b\n"])
def test_an_empty_file_is_an_error(text: str) -> None:
    with pytest.raises(InputError, match=r"^hosts\.txt: there is no host in it"):
        parse_hostfile(text, "hosts.txt")


@pytest.mark.parametrize("end", ["1", "2"])
def test_the_job_is_bounded(end: str) -> None:
    with pytest.raises(InputError, match="in one job"):
        parse_hostfile(f"a[1-65536] slots=1\nb[1-{end}] slots=1", "f")
    with pytest.raises(InputError, match="in one job"):
        parse_hostfile(f"a[1-257] slots=4096\nb{end} slots=1", "f")


@pytest.mark.parametrize(
    ("text", "hosts"),
    [
        ("a", [("a", 1)]),
        ("a:2, b", [("a", 2), ("b", 1)]),
        ("node[01-02,04]:8,big:4", [("node01", 8), ("node02", 8), ("node04", 8), ("big", 4)]),
        ("[fd00::1]:2,[fd00::2]", [("fd00::1", 2), ("fd00::2", 1)]),
        ("x@[fd00::1]:2,x@h:3", [("x@fd00::1", 2), ("x@h", 3)]),
    ],
)
def test_inline_hosts(text: str, hosts: list[tuple[str, int]]) -> None:
    assert [(host.name, len(host.devices)) for host in parse_hosts(text)] == hosts


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            ",",
            "a,",
            "a,,b",
            "a:",
            "a:0",
            "a:x",
            "a:1:2",
            "fd00::1",
            "a,a",
            "-x",
            "a b",
            "a]b[",
        ),
        *("n[1-2", "n[2-1]:1", ":4", "a:4,b:4 slots=3"),
    ],
)
def test_inline_hosts_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"^--hosts: '"):
        parse_hosts(text)


def test_reads_a_file(tmp_path: Path) -> None:
    path = tmp_path / "hosts"
    path.write_bytes(b"# caf\xe9\r\nn1 slots=2\r\n")
    assert read_hostfile(str(path)) == (Host("n1", (0, 1)),)


def test_a_file_that_is_no_text_is_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "hosts"
    path.write_bytes(b"\x7fELF\xff\x00\n")
    with pytest.raises(InputError) as caught:
        read_hostfile(str(path))
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("name", ["missing", "", "a\0b"])
def test_an_unreadable_file_is_named(tmp_path: Path, name: str) -> None:
    path = str(tmp_path / name)
    with pytest.raises(InputError) as caught:
        read_hostfile(path)
    assert str(caught.value).startswith(f"hostfile {path}: ")


def test_a_file_without_end_is_refused() -> None:
    with pytest.raises(InputError, match="larger than 4 MiB"):
        read_hostfile("/dev/zero")


def test_a_hostile_file_is_refused_in_time() -> None:
    before = time.process_time()
    for text in ("[" * 2**20, "\n" * 2**20, "n[1-2]" * 2**16, ":" * 2**16, "a,[" * 2**16):
        with pytest.raises(InputError):
            parse_hostfile(text, "f")
        with pytest.raises(InputError):
            parse_hosts(text)
    assert time.process_time() - before < 10


@given(st.text(alphabet="wn[]-,:=01 \t\r\n#@.slotdevicepr", max_size=80))
@example("w0 slots=1")
def test_anything_is_hosts_or_one_line_of_refusal(text: str) -> None:
    refusal = ""
    for inline in (False, True):
        try:
            hosts = parse_hosts(text) if inline else parse_hostfile(text, "f")
        except InputError as error:
            refusal += str(error)
        else:
            assert len({host.name for host in hosts}) == len(hosts) > 0
            assert all(host.devices and not host.name.startswith("-") for host in hosts)
    assert "\n" not in refusal


@given(st.text(max_size=60))
def test_a_checked_name_is_safe(text: str) -> None:
    try:
        name = checked_name(text)
    except InputError:
        return
    assert name.isascii()
    assert not set(name) & set(" ;$'\"`|&<>()\\\n\0[]")
    assert checked_name(name) == name
