"""Where the values of a job came from: what was typed, and what a config says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from madrun.runner.config.keys import Setting, Settings

TYPED = "the command line"
_VARIABLES = ("env_vars", "context.env_vars")


def origins_of(
    settings: Settings, fields: Mapping[str, Setting], typed: frozenset[str]
) -> dict[str, str]:
    """By the name of a field of the request, or by a setting's path where there is no field."""
    used = {setting.origin for setting in fields.values()}
    named = {
        name: f"{TYPED}, over {setting.origin}" if name in typed else setting.origin
        for name, setting in fields.items()
    }
    rest = {path: each.origin for path, each in settings.values.items() if each.origin not in used}
    return {**dict.fromkeys(sorted(typed), TYPED), **named, **rest}


def lines(origins: Mapping[str, str], values: Mapping[str, Any]) -> list[str]:
    """What a dry run shows of a config; ``values`` are the request's. Variables by name only.

    >>> lines({"nnodes": "job.json: slurm.nodes", "env_vars.TOKEN": "job.json: env_vars.TOKEN",
    ...        "as_json": "the command line"}, {"nnodes": 2})
    ['  nnodes = 2    (job.json: slurm.nodes)', '  env_vars.TOKEN    (job.json: env_vars.TOKEN)']
    """
    shown = []
    for name, origin in origins.items():
        if origin != TYPED:
            value = _value(name, values)
            equals = "" if value is None else f" = {value}"
            shown.append(f"  {name}{equals}    ({origin})")
    return shown


def _value(name: str, values: Mapping[str, Any]) -> object:
    section, _, key = name.rpartition(".")
    if not section:
        return values.get(name)
    if section in _VARIABLES:
        return None
    if section == "slurm":
        return values["slurm"].get(key)
    if section.startswith("distributed."):
        return values["options"].get(key)
    return None
