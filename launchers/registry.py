"""Launchers by name; each is imported when it is asked for."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from madrun.launchers.plan import NodeFacts, NodePlan
from madrun.wire.errors import InputError
from madrun.wire.jobspec import JobSpec

Plan = Callable[[JobSpec, int, str, int, NodeFacts], NodePlan]

_MODULES = {"native": "madrun.launchers.native"}


def planner(name: str) -> Plan:
    """The plan function of a launcher; raises InputError that lists the known ones."""
    module = _MODULES.get(name)
    if module is None:
        raise InputError(f"unknown launcher {name!r}; known are {', '.join(_MODULES)}")
    function: Plan = import_module(module).plan
    return function
