"""The options that a launcher has of its own, from ``--launcher-opt`` and from config files.

They reach the launcher as texts in ``JobSpec.options``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from madrun.launchers.launcher import Launcher
from madrun.options.option_types import nearest
from madrun.system.errors import InputError


def typed(launcher: Launcher, texts: Sequence[str]) -> dict[str, str]:
    """The options of a launcher from ``--launcher-opt NAME=VALUE``; raises InputError.

    >>> from madrun.launchers.registry import find
    >>> typed(find("torchrun"), ["max-restarts=3"])
    {'max_restarts': '3'}
    """
    given: dict[str, object] = {}
    for each in texts:
        name, sign, value = each.partition("=")
        if not sign:
            raise InputError(f"--launcher-opt {each[:60]!r}: NAME=VALUE is wanted")
        given[name.strip().replace("-", "_")] = value
    try:
        return checked(launcher, given)
    except InputError as error:
        raise InputError(f"--launcher-opt, launcher {launcher.name}: {error}") from None


def checked(launcher: Launcher, options: Mapping[str, object]) -> dict[str, str]:
    """The options of a launcher, each checked; None is not given.

    Raises InputError for a wrong value, and for an unknown name with the nearest known one.

    >>> from madrun.launchers.registry import find
    >>> checked(find("megatron"), {"tensor_parallel_size": "4", "inject_args": True})
    {'tensor_parallel_size': '4', 'inject_args': 'true'}
    >>> checked(find("megatron"), {"tensor_parallel": 4})
    Traceback (most recent call last):
    madrun.system.errors.InputError: unknown key 'tensor_parallel'; did you mean \
'tensor_parallel_size'?
    """
    kinds = launcher.options
    found: dict[str, str] = {}
    for name, value in options.items():
        if name not in kinds:
            raise InputError(f"unknown key {name[:60]!r}; {nearest(name, kinds)}")
        if value is not None:
            found[name] = kinds[name](name, value)
    return found
