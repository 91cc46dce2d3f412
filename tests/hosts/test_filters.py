from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from madrun.hosts.filters import MAX_LENGTH, Term, apply, parse
from madrun.hosts.hostfile import Host, parse_hosts
from madrun.hosts.world import ALL, Node
from madrun.system.errors import InputError

POOL = (
    Host("n1", (0, 1, 2, 3)),
    Host("n2", (3, 1, 0)),
    Host("alice@n3", (0, 1)),
    Host("fd00::12", (0, 1)),
)


@pytest.mark.parametrize(
    ("include", "nodes"),
    [
        ("n1", [("n1", (0, 1, 2, 3))]),
        ("n1:0-2", [("n1", (0, 1, 2))]),
        ("n1:3,1", [("n1", (1, 3))]),
        ("n2:0,3", [("n2", (3, 0))]),
        ("n[1-2]:0@alice@n3:1", [("n1", (0,)), ("n2", (0,)), ("alice@n3", (1,))]),
        ("n2:0;n1:0", [("n1", (0,)), ("n2", (0,))]),
        ("alice@n3;n1:0", [("n1", (0,)), ("alice@n3", (0, 1))]),
        ("alice@n[3]:0", [("alice@n3", (0,))]),
        ("fd00::12", [("fd00::12", (0, 1))]),
        ("[fd00::12]", [("fd00::12", (0, 1))]),
        ("[fd00::12]:1@n1:0", [("n1", (0,)), ("fd00::12", (1,))]),
    ],
)
def test_include(include: str, nodes: list[tuple[str, tuple[int, ...]]]) -> None:
    assert apply(POOL, include, "") == tuple(Node(*node) for node in nodes)


def test_exclude_keeps_the_order_of_devices_and_drops_empty_hosts() -> None:
    left = apply(POOL, "", "n1;n2:1;alice@n3:0-1;[fd00::12]:0")
    assert left == (Node("n2", (3, 0)), Node("fd00::12", (1,)))


def test_no_filter_keeps_everything() -> None:
    assert [node.devices for node in apply(POOL, "", "")] == [host.devices for host in POOL]


def test_the_longest_known_name_wins() -> None:
    hosts = parse_hosts("a:1,b:1,a@b:1")
    assert apply(hosts, "a@b", "") == (Node("a@b", (0,)),)
    assert apply(hosts, "a;b", "") == (Node("a", (0,)), Node("b", (0,)))
    assert apply(hosts[:2], "a@b", "") == (Node("a", (0,)), Node("b", (0,)))


def test_slots_of_a_host_that_has_all_there_are() -> None:
    hosts = parse_hosts("a,b")
    assert apply(hosts, "", "") == (Node("a", ALL), Node("b", ALL))
    assert apply(hosts, "a", "") == (Node("a", ALL),)
    assert apply(hosts, "b:2,0", "") == (Node("b", (0, 2)),)
    assert apply(hosts, "", "a") == (Node("b", ALL),)
    with pytest.raises(InputError, match="which slots a has is not said; write a:N or slots=N"):
        apply(hosts, "", "a:1")


def test_parsing_asks_for_no_host_that_is_not_there() -> None:
    assert parse("x:1@y", ()) == (Term(("x",), (1,)), Term(("y",), None))


@pytest.mark.parametrize(
    ("include", "reason"),
    [
        ("jeff", "there is no host 'jeff'; hosts are n1 (slots 0-3); n2 (slots 0-1,3)"),
        ("n[1-2,7]", "there is no host 'n7'"),
        ("n1 :0", "there is no host 'n1 '"),
        ("bob@n3", "there is no host 'bob'"),
        ("n1:4", "host n1 has no slot 4; its slots are 0-3"),
        ("n2:2", "host n2 has no slot 2; its slots are 0-1,3"),
        ("n1:-1", "host n1 has no slot -1"),
        ("n1:0:1", "more than one colon"),
        ("fd00::99", "more than one colon"),
        ("n1:a", "'a' is not a slot number"),
        ("n1:", "'' is not a slot number"),
        ("n1:0,", "'' is not a slot number"),
        ("n1:3-1", "the range 3-1 runs backwards"),
        ("n1:0-99999999", "longer than"),
        ("n1:" + "9" * 5000, "is not a slot number"),
        ("n1:0@", "a host is missing"),
        ("@", "a host is missing"),
        (";n1", "a host is missing"),
        ("n[2-1]", "runs backwards"),
        ("n[1-2", "brackets"),
        ("n1\n:0", "there is no host"),
        ("n1@" * MAX_LENGTH, "too long"),
    ],
)
@pytest.mark.parametrize("option", ["--include", "--exclude"])
def test_refusals_name_the_option(option: str, include: str, reason: str) -> None:
    with pytest.raises(InputError) as caught:
        apply(POOL, *((include, "") if option == "--include" else ("", include)))
    message = str(caught.value)
    assert message.startswith(f"{option} ")
    assert reason in message
    assert message.isprintable()
    assert len(message) < 1000


def test_both_filters_are_refused() -> None:
    with pytest.raises(InputError, match="together"):
        apply(POOL, "n1", "n2")


def test_nothing_left_lists_what_there_is() -> None:
    with pytest.raises(InputError, match=r"leaves nothing to run on; hosts are a\[1-3\] \(slots 0"):
        apply(parse_hosts("a[1-3]:1"), "", "a[1-3]")


def test_many_hosts_are_listed_on_one_screen() -> None:
    hosts = tuple(Host(f"h{'x' * (n % 40)}{n}", (0,)) for n in range(5000))
    with pytest.raises(InputError) as caught:
        apply(hosts, "jeff", "")
    assert len(str(caught.value)) < 1000


def test_a_hostile_filter_is_refused_in_time() -> None:
    hosts = parse_hosts("n[1-256]:4096")
    before = time.process_time()
    for text in ("n[1-200]@" * 7000, "a@n[1-200]@" * 5000, "[" * 60000, "n1:0-4095@" * 6000 + "@"):
        with pytest.raises(InputError):
            apply(hosts, text, "")
    assert time.process_time() - before < 20


@given(st.text(alphabet="n123[]-,:;@ alicefd0", max_size=60))
def test_anything_is_a_selection_or_a_refusal(text: str) -> None:
    for include, exclude in ((text, ""), ("", text)):
        refusal = ""
        try:
            nodes = apply(POOL, include, exclude)
        except InputError as error:
            refusal = str(error)
        else:
            names = [host.name for host in POOL]
            assert [n.host for n in nodes] == sorted((n.host for n in nodes), key=names.index)
            assert all(node.devices for node in nodes)
        assert "\n" not in refusal


def test_many_slot_ranges_are_refused_before_they_are_counted_out() -> None:
    text = "a:" + ",".join(["0-4095"] * 9000)
    with pytest.raises(InputError, match="more than 16384 slots are named on one host"):
        parse(text, {"a"})
