"""Backends by name, and which one a job gets when it names none."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import NamedTuple

from madrun.backends.base import Allocation, Backend, Situation
from madrun.system import plugins
from madrun.system.errors import InputError

AUTO = "auto"
# Those that ``auto`` asks, in this order: they are loaded at each start, and so without what runs
# their tools. The others are loaded where they are asked for.
_ASKED = ("srun", "local", "ssh")
_UNKNOWN = "unknown backend {}; known are {}"
_FAMILY = plugins.Family("backend", "madrun.backends", "BACKEND", "madrun.backends", _UNKNOWN)


class Choice(NamedTuple):
    """A job's backend, and in a few words why it is this one."""

    backend: Backend
    reason: str


@cache
def built_in() -> tuple[Backend, ...]:
    """Every backend that comes with madrun, those first that ``auto`` asks."""
    others = (each for each in plugins.all_built_in(_FAMILY) if each.name not in _ASKED)
    return (*_asked(), *others)


@cache
def find(name: str) -> Backend:
    """The backend that is called so, in any spelling; raises InputError for an unknown name."""
    return plugins.find(_FAMILY, Backend, name, names)


def own_names() -> list[str]:
    """madrun's own, as ``--help`` lists them; to look for those of packages takes some 20 ms."""
    return [AUTO, *(each.name for each in built_in())]


def names() -> list[str]:
    """The names that a user can choose from, those of installed packages last."""
    return [*own_names(), *plugins.offered_names(_FAMILY)]


def is_known(name: str) -> bool:
    """Whether a backend of madrun's is called so, in any spelling."""
    return plugins.known(_FAMILY, name) is not None


def allocation(
    name: str, environ: Mapping[str, str], nproc_per_node: int | None
) -> Allocation | None:
    """The hosts that a scheduler has given to us; None outside of an allocation.

    ``name`` as for ``choose``: who asks for a backend does not mean another one's hosts.
    """
    asked = _asked() if plugins.word(name) == AUTO else iter((find(name),))
    return next(filter(None, (each.allocation(environ, nproc_per_node) for each in asked)), None)


def choose(name: str, situation: Situation, allocated: Allocation | None = None) -> Choice:
    """The backend of a job: the one named, else the one that says that it is for such a job.

    ``allocated`` is what ``allocation`` has found, where the hosts are those. Raises InputError
    for an unknown name, and for a backend that refuses the hosts.
    """
    if plugins.word(name) == AUTO:
        return _applying(situation, allocated)
    backend = find(name)
    if reason := backend.refuses(situation):
        raise InputError(f"--backend {backend.name}: {reason}")
    return Choice(backend, "as asked")


def _applying(situation: Situation, allocated: Allocation | None) -> Choice:
    if allocated is not None:
        return Choice(find(allocated.backend), f"inside {allocated.name}")
    for each in _asked():
        if reason := each.applies(situation):
            return Choice(each, reason)
    raise InputError("--backend auto: no backend is for these hosts; --backend names one")


def _asked() -> Iterator[Backend]:
    """Loaded one by one: no more of them than until one applies."""
    return (plugins.built_in(_FAMILY, name) for name in _ASKED)
