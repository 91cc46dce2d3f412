"""Where the values of a job came from: what was typed, and what a config says."""

from __future__ import annotations

from collections.abc import Mapping

from madrun.options.command_line import TYPED
from madrun.options.request import Request, fields, value_of
from madrun.runner.config.keys import NOTES, Setting, Settings

_VARIABLES = ("env_vars", "context.env_vars")


def origins_of(
    settings: Settings, found: Mapping[str, Setting], typed: frozenset[str]
) -> dict[str, str]:
    """By the key of an option, or by a setting's path where there is no option."""
    used = {setting.origin for setting in found.values()}
    named = {
        name: f"{TYPED}, over {setting.origin}" if name in typed else setting.origin
        for name, setting in found.items()
    }
    rest = {
        path: each.origin
        for path, each in settings.values.items()
        if each.origin not in used and path not in NOTES
    }
    return {**dict.fromkeys(sorted(typed), TYPED), **named, **rest}


def lines(request: Request) -> list[str]:
    """What a dry run shows of a config. Variables by name only.

    >>> origins = {"nnodes": "job.json: slurm.nodes", "env_vars.TOKEN": "job.json: env_vars.TOKEN",
    ...            "json": TYPED}
    >>> from madrun.options.request import changed
    >>> lines(changed(Request(origins=origins), {"nnodes": 2}))
    ['  nnodes = 2    (job.json: slurm.nodes)', '  env_vars.TOKEN    (job.json: env_vars.TOKEN)']
    """
    shown = []
    for name, origin in request.origins.items():
        if origin != TYPED:
            value = _value(name, request)
            equals = "" if value is None else f" = {value}"
            shown.append(f"  {name}{equals}    ({origin})")
    return shown


def _value(name: str, request: Request) -> object:
    section, _, key = name.rpartition(".")
    if not section:
        return value_of(request, name) if name in fields() else None
    if section in _VARIABLES:
        return None
    if section == "slurm":
        return request.submit.section.get(key)
    if section.startswith("distributed."):
        return request.program.section.get(key)
    return None
