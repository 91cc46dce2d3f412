"""World info: the World as URL-safe base64 of JSON, in DeepSpeed's form."""

from __future__ import annotations

import binascii
import json
import re
from typing import NoReturn

from madrun.hosts.hostfile import MAX_SLOTS, checked_name
from madrun.hosts.world import Node, World
from madrun.system.errors import InputError

# Sixteen thousand hosts of eight devices are one MiB.
MAX_LENGTH = 8 * 2**20

_BASE64 = re.compile(r"[A-Za-z0-9+/]*")


def encode(world: World) -> str:
    """The World as text that is safe in any shell.

    >>> encode(World((Node("worker-0", (0, 1)), Node("worker-1", (2,)))))
    'eyJ3b3JrZXItMCI6IFswLCAxXSwgIndvcmtlci0xIjogWzJdfQ=='
    """
    text = json.dumps({node.host: list(node.devices) for node in world.nodes})
    encoded = binascii.b2a_base64(text.encode(), newline=False).decode()
    return encoded.replace("+", "-").replace("/", "_")


def decode(text: str) -> World:
    """The World of a world info; both base64 alphabets, with or without padding.

    Raises InputError for anything but an object of host names, each with its device numbers.

    >>> decode("eyJub2RlMDEiOiBbMCwgM119")
    World(nodes=(Node(host='node01', devices=(0, 3)),))
    """
    pairs = _json(_bytes(text))
    # Objects are read as tuples of pairs: a dict would hide a host that is there twice.
    if not isinstance(pairs, tuple):
        _refuse("it is not an object of host names and device lists")
    nodes = tuple(Node(_host(name), _devices(name, devices)) for name, devices in pairs)
    try:
        return World(nodes)
    except InputError as error:
        _refuse(str(error))


def _bytes(text: str) -> bytes:
    if len(text) > MAX_LENGTH:
        _refuse(f"it is longer than {MAX_LENGTH >> 20} MiB")
    bare = text.strip().rstrip("=").replace("-", "+").replace("_", "/")
    if not bare:
        _refuse("it is empty")
    if not _BASE64.fullmatch(bare) or len(bare) % 4 == 1:
        _refuse("it is not base64; was it cut or quoted on its way?")
    return binascii.a2b_base64(bare + "=" * (-len(bare) % 4))


def _json(data: bytes) -> object:
    try:
        return json.loads(data.decode(), object_pairs_hook=tuple)
    except (ValueError, RecursionError):
        _refuse("its base64 holds no JSON; was it cut on its way?")


def _host(name: str) -> str:
    try:
        return checked_name(name)
    except InputError as error:
        _refuse(str(error))


def _devices(name: str, devices: object) -> tuple[int, ...]:
    if not isinstance(devices, list) or not all(_is_device(each) for each in devices):
        _refuse(f"host {name}: devices must be a list of numbers from 0 to {MAX_SLOTS - 1}")
    return tuple(devices)


def _is_device(value: object) -> bool:
    # A bool is an int to Python, and no device.
    return type(value) is int and 0 <= value < MAX_SLOTS


def _refuse(reason: str) -> NoReturn:
    raise InputError(f"world info: {reason}")
