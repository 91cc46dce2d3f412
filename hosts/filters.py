"""Include and exclude filters: ``node01@node[02-04]:0,2`` picks hosts and slots of a hostfile."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from madrun.hosts import hostlist
from madrun.hosts.world import ALL, Node
from madrun.system.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from madrun.hosts.hostfile import Host

MAX_LENGTH = 2**16
# Hosts and slots of all terms, ranges counted out: short text can stand for very much.
MAX_NAMED = 2**18
_SLOTS = r"(-?[0-9]{1,9})(?:-([0-9]{1,9}))?"
_MAX_SLOT_RANGE = 4096
_MAX_SLOTS_NAMED = 4 * _MAX_SLOT_RANGE  # of one host, ranges counted out, repeated ones too
_MAX_LISTED = 600
_EXAMPLE = "a filter reads like node01@node[02-04]:0,2"


class Term(NamedTuple):
    """Hosts of a filter and the slots meant on each; None is all slots."""

    hosts: tuple[str, ...]
    slots: tuple[int, ...] | None


def parse(text: str, known: Collection[str]) -> tuple[Term, ...]:
    """The terms of a filter; ``@`` or ``;`` between hosts.

    The known host names are needed because ``alice@node01`` is one name where it is known and
    two hosts where not: the longest known name wins. Whether a host is there is not asked here.

    >>> parse("node[1-2]:0-1@big", {"big"})
    (Term(hosts=('node1', 'node2'), slots=(0, 1)), Term(hosts=('big',), slots=None))
    >>> parse("alice@node1:0", {"alice@node1"})
    (Term(hosts=('alice@node1',), slots=(0,)),)
    """
    if len(text) > MAX_LENGTH:
        raise InputError("the filter is too long")
    names = frozenset(known)
    terms: list[Term] = []
    budget = MAX_NAMED
    for group in hostlist.split(text, ";"):
        pieces = hostlist.split(group, "@")
        at = 0
        while at < len(pieces):
            width = 2 if _joins(pieces[at : at + 2], names) else 1
            terms.append(_term("@".join(pieces[at : at + width]), names))
            at += width
            budget -= len(terms[-1].hosts) + len(terms[-1].slots or ())
            if budget < 0:
                raise InputError(f"the filter names more than {MAX_NAMED} hosts and slots")
    return tuple(terms)


def apply(hosts: Sequence[Host], include: str, exclude: str) -> tuple[Node, ...]:
    """The hosts and slots that are left, in hostfile order; a host with none left is dropped.

    Raises InputError where both filters are given, where one names a host or slot that is not
    there, and where nothing is left.

    >>> from madrun.hosts.hostfile import parse_hosts
    >>> apply(parse_hosts("a:4,b:4"), "b:3,1", "")
    (Node(host='b', devices=(1, 3)),)
    """
    if include and exclude:
        raise InputError("--include and --exclude cannot be given together; one is enough")
    if not include and not exclude:
        return tuple(Node(host.name, host.devices) for host in hosts)
    option, text = ("--include", include) if include else ("--exclude", exclude)
    try:
        named = _named(hosts, parse(text, [host.name for host in hosts]))
        chosen = _only if include else _without
        nodes = [chosen(host, named.get(host.name, set())) for host in hosts]
    except InputError as error:
        raise InputError(f"{option} {_shown(text)}: {error}") from None
    left = tuple(node for node in nodes if node.devices)
    if not left:
        raise InputError(
            f"{option} {_shown(text)} leaves nothing to run on; hosts are {_listed(hosts)}"
        )
    return left


def _only(host: Host, slots: set[int]) -> Node:
    if host.devices == ALL:  # its agent will see whether they are there
        return Node(host.name, ALL if slots == set(ALL) else tuple(sorted(slots)))
    return Node(host.name, tuple(device for device in host.devices if device in slots))


def _without(host: Host, slots: set[int]) -> Node:
    if host.devices == ALL and slots - set(ALL):
        name = host.name
        raise InputError(f"which slots {name} has is not said; write {name}:N or slots=N")
    return Node(host.name, tuple(device for device in host.devices if device not in slots))


def _named(hosts: Sequence[Host], terms: Sequence[Term]) -> dict[str, set[int]]:
    """The slots that the terms name on each host, all of them there."""
    there = {host.name: host for host in hosts}
    named: dict[str, set[int]] = {}
    for term in terms:
        wanted = None if term.slots is None else frozenset(term.slots)
        for name in term.hosts:
            if name not in there:
                raise InputError(f"there is no host {_shown(name)}; hosts are {_listed(hosts)}")
            devices = frozenset(there[name].devices)
            slots = devices if wanted is None else wanted
            missing = slots - devices
            if missing and there[name].devices != ALL:
                raise InputError(
                    f"host {name} has no slot {min(missing)}; its slots are"
                    f" {hostlist.fold_numbers(devices)}"
                )
            named.setdefault(name, set()).update(slots)
    return named


def _joins(pieces: Sequence[str], known: frozenset[str]) -> bool:
    """Whether two pieces around an @ are user and host of a known name."""
    # A user has no slots and no ranges; so two long ranges never multiply.
    if len(pieces) < 2 or not {"[", ":"}.isdisjoint(pieces[0]):
        return False
    joined = "@".join(pieces)
    if joined in known:
        return True
    try:
        names = hostlist.expand(hostlist.split(joined, ":")[0])
    except InputError:
        return False
    return any(_unbracketed(name) in known for name in names)


def _term(text: str, known: frozenset[str]) -> Term:
    # A bare IPv6 address has colons of its own; as a known name it needs no brackets.
    host, *slots = [text] if text in known else hostlist.split(text, ":")
    if not host:
        raise InputError(f"a host is missing; {_EXAMPLE}")
    if len(slots) > 1:
        raise InputError(
            f"{_shown(text)} has more than one colon; {_EXAMPLE}, an IPv6 address like [fd00::1]:0"
        )
    hosts = tuple(_unbracketed(name) for name in hostlist.expand(host))
    return Term(hosts, _slots(slots[0]) if slots else None)


def _slots(text: str) -> tuple[int, ...]:
    slots: dict[int, None] = {}
    named = 0
    for item in text.split(","):
        found = re.fullmatch(_SLOTS, item.strip())
        if found is None:
            raise InputError(f"{_shown(item)} is not a slot number; {_EXAMPLE}")
        low, high = int(found[1]), int(found[2] or found[1])
        if high < low:
            raise InputError(f"the range {item.strip()} runs backwards")
        if high - low >= _MAX_SLOT_RANGE:
            raise InputError(f"the range {item.strip()} is longer than {_MAX_SLOT_RANGE} slots")
        named += high - low + 1
        if named > _MAX_SLOTS_NAMED:
            raise InputError(f"more than {_MAX_SLOTS_NAMED} slots are named on one host")
        slots.update(dict.fromkeys(range(low, high + 1)))
    return tuple(slots)


def _unbracketed(name: str) -> str:
    user, at, address = name.rpartition("@")
    if address.startswith("[") and address.endswith("]"):
        address = address[1:-1]
    return user + at + address


def _listed(hosts: Sequence[Host]) -> str:
    """What there is, short enough for one screen: hosts of equal slots together."""
    by_slots: dict[tuple[int, ...], list[str]] = {}
    for host in hosts:
        by_slots.setdefault(host.devices, []).append(host.name)
    listed = "; ".join(
        f"{hostlist.fold(names)} (slots {_numbers(devices)})" for devices, names in by_slots.items()
    )
    return listed if len(listed) <= _MAX_LISTED else listed[:_MAX_LISTED] + " ..."


def _numbers(devices: tuple[int, ...]) -> str:
    return "not said" if devices == ALL else hostlist.fold_numbers(devices)


def _shown(text: str) -> str:
    return repr(text if len(text) <= 100 else text[:97] + "...")
