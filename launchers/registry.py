"""Launchers by name; each is imported when it is asked for."""

from __future__ import annotations

from functools import cache

from madrun.launchers.launcher import Launcher
from madrun.system import plugins

DEFAULT = "native"
_UNKNOWN = "Unknown launcher type {}. Use one of: {}"
_FAMILY = plugins.Family("launcher", "madrun.launchers", "LAUNCHER", "madrun.launchers", _UNKNOWN)


@cache
def find(name: str) -> Launcher:
    """The launcher that is called so, in any spelling; raises InputError for an unknown name.

    >>> find("SGLang_Disagg").name, find("megatron-lm").name
    ('sglang-disagg', 'megatron')
    """
    return plugins.find(_FAMILY, Launcher, name, names)


def is_known(name: str) -> bool:
    """Whether a launcher of madrun's is called so, in any spelling."""
    return plugins.known(_FAMILY, name) is not None


def built_in() -> tuple[Launcher, ...]:
    """Every launcher that comes with madrun."""
    return tuple(plugins.all_built_in(_FAMILY))


def own_names() -> list[str]:
    """madrun's own, as ``--help`` lists them; to look for those of packages takes some 20 ms."""
    return [each.name for each in built_in() if each.listed]


def names() -> list[str]:
    """The names that a user can choose from, those of installed packages last."""
    return [*own_names(), *plugins.offered_names(_FAMILY)]
