"""Launchers by name; each is imported when it is asked for."""

from __future__ import annotations

from functools import cache

from madrun.launchers.launcher import Launcher
from madrun.system import plugins
from madrun.system.errors import InputError

DEFAULT = "native"
_FAMILY = plugins.Family("launcher", "madrun.launchers", "LAUNCHER", "madrun.launchers")


@cache
def find(name: str) -> Launcher:
    """The launcher that is called so, in any spelling; raises InputError for an unknown name.

    >>> find("SGLang_Disagg").name, find("megatron-lm").name
    ('sglang-disagg', 'megatron')
    """
    found = _known(plugins.word(name)) or plugins.plug_in(_FAMILY, plugins.word(name))
    if found is None:
        raise InputError(f"Unknown launcher type {name[:60]!r}. Use one of: {', '.join(names())}")
    if not isinstance(found, Launcher):
        raise InputError(f"launcher {name!r}: {type(found).__name__} is no Launcher")
    return found


def is_known(name: str) -> bool:
    """Whether a launcher of madrun's is called so, in any spelling."""
    return _known(plugins.word(name)) is not None


def built_in() -> tuple[Launcher, ...]:
    """Every launcher that comes with madrun."""
    return tuple(plugins.all_built_in(_FAMILY))


def own_names() -> list[str]:
    """madrun's own, as ``--help`` lists them; to look for those of packages takes some 20 ms."""
    return [each.name for each in built_in() if each.listed]


def names() -> list[str]:
    """The names that a user can choose from, those of installed packages last."""
    return [*own_names(), *plugins.offered_names(_FAMILY)]


def _known(name: str) -> Launcher | None:
    found: Launcher | None = plugins.built_in(_FAMILY, name)
    if found is not None:
        return found
    return next((each for each in built_in() if name in each.aliases), None)
