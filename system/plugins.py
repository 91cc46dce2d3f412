"""Objects that are found by name: a built-in one in a module of that name, else a plug-in's.

A plug-in is a package that is installed beside madrun and names its object as an entry point.
Entry points are read for names only that are not built in: that takes some 20 ms.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import Any, NamedTuple, TypeVar

from madrun.system.errors import InputError

Found = TypeVar("Found")


class Family(NamedTuple):
    """Objects of one kind: what they are called in messages, the package with the built-in ones,
    the name that the object has in its module, the group of the entry points, and what is said of
    an unknown name and the known ones."""

    noun: str
    package: str
    attribute: str
    group: str
    unknown: str


def word(name: str) -> str:
    """A name as objects have it.

    >>> word("SGLang_Disagg")
    'sglang-disagg'
    """
    return name.lower().replace("_", "-")


def find(family: Family, kind: type[Found], name: str, names: Callable[[], list[str]]) -> Found:
    """The object that is called so, in any spelling, built in or a plug-in's.

    Raises InputError for an unknown name, with the ``names`` that there are, and for an object of
    another kind.
    """
    found = known(family, name) or plug_in(family, word(name))
    if found is None:
        raise InputError(family.unknown.format(repr(name[:60]), ", ".join(names())))
    if not isinstance(found, kind):
        raise InputError(f"{family.noun} {name!r}: {type(found).__name__} is no {kind.__name__}")
    return found


def known(family: Family, name: str) -> Any:
    """The built-in object that is called so, or has this alias, in any spelling; else None."""
    wanted = word(name)
    found = built_in(family, wanted)
    if found is not None:
        return found
    return next((each for each in all_built_in(family) if wanted in each.aliases), None)


def built_in(family: Family, name: str) -> Any:
    """The built-in object of this very name; None where there is none."""
    module = name.replace("-", "_")
    if not module.isidentifier() or module.startswith("_"):
        return None
    return _object_in(family, module)


def all_built_in(family: Family) -> list[Any]:
    """Every built-in object, by name."""
    (folder,) = import_module(family.package).__path__
    entries = [name for name in os.listdir(folder) if not name.startswith("_")]
    modules = sorted(name.removesuffix(".py") for name in entries)
    found = [_object_in(family, module) for module in modules if module.isidentifier()]
    return [each for each in found if each is not None]


def plug_in(family: Family, name: str) -> Any:
    """The object of this name that an installed package brings; None where there is none.

    Raises InputError that names the package for one that takes a built-in's name, that another
    package has too, or that cannot be loaded.
    """
    from importlib.metadata import entry_points

    offered = list(entry_points(group=family.group))
    taken = {each for own in all_built_in(family) for each in (own.name, *own.aliases)}
    for each in offered:
        if word(each.name) in taken:
            raise InputError(
                f"{_package(each)} brings a {family.noun} {each.name!r}, which madrun has itself: "
                "it needs another name"
            )
    matching = [each for each in offered if word(each.name) == name]
    if len({each.value for each in matching}) > 1:
        packages = " and ".join(sorted(_package(each) for each in matching))
        raise InputError(f"{packages} bring a {family.noun} {name!r} each: only one can be meant")
    return _loaded(family, matching[0], name) if matching else None


def offered_names(family: Family) -> list[str]:
    """The names that installed packages bring."""
    from importlib.metadata import entry_points

    return sorted({word(each.name) for each in entry_points(group=family.group)})


def _loaded(family: Family, entry_point: Any, name: str) -> Any:
    try:
        found = entry_point.load()
    except Exception as error:  # whatever a package of somebody else may raise
        raise InputError(
            f"{_package(entry_point)} cannot be used for the {family.noun} {name!r}: "
            f"{type(error).__name__}: {error}"
        ) from None
    if getattr(found, "name", None) != name:
        raise InputError(
            f"{_package(entry_point)} brings {entry_point.value} as the {family.noun} {name!r}, "
            f"and its name is {getattr(found, 'name', None)!r}"
        )
    return found


def _package(entry_point: Any) -> str:
    package = entry_point.dist
    return f"the package {package.name} {package.version}" if package else entry_point.value


def _object_in(family: Family, module: str) -> Any:
    """The object of a module; that of a package is in its module ``entry``."""
    path = f"{family.package}.{module}"
    found = _module(path)
    if hasattr(found, "__path__"):
        found = _module(f"{path}.entry")
    return getattr(found, family.attribute, None)


def _module(path: str) -> ModuleType | None:
    try:
        return import_module(path)
    except ModuleNotFoundError as error:
        if error.name != path:
            raise
        return None
