"""The keys of a config file: every section, every key, and what its value has to be."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from madrun.backends.kubernetes.keys import SECTION as KUBERNETES
from madrun.launchers.registry import built_in, find
from madrun.launchers.registry import names as names_of_launchers
from madrun.options.option_types import (
    Kind,
    choice,
    count,
    count_or,
    flag,
    line,
    nearest,
    number,
    port,
    shown,
    text,
    words,
)
from madrun.system.errors import InputError
from madrun.system.plugins import word

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def names(name: str, value: object) -> str:
    """Names in a list or a text with commas; blanks and empty ones are dropped.

    >>> names("nodelist", " a , b,"), names("nodelist", ["a", "b"])
    ('a,b', 'a,b')
    """
    listed = value if isinstance(value, list) else line(name, value).split(",")
    found = [line(f"{name}[{at}]", each).strip() for at, each in enumerate(listed)]
    return ",".join(filter(None, found))


def anything(name: str, value: object) -> str:
    """What another program reads from the same file: see NOTES."""
    return ""


class Variables:
    """A section whose keys are names of variables, and its values texts."""


VARIABLES = Variables()
Section = Mapping[str, "Kind | Variables | Section"]

DISTRIBUTED: Section = {
    "launcher": text,
    "nnodes": count,
    "nproc_per_node": count_or("auto", "gpu", "cpu"),
    "master_port": port,
    "backend": line,
    **{each.name.replace("-", "_"): each.options for each in built_in() if each.options},
}
SLURM: Section = {
    "partition": line,
    "nodes": count,
    "gpus_per_node": count,
    "cpus_per_task": count,
    "time": line,
    "output_dir": line,
    "exclusive": flag,
    "exclude": names,
    "constraint": line,
    "nodelist": names,
    "qos": line,
    "account": line,
    "reservation": line,
    "mem": line,
    "mail_user": line,
    "mail_type": names,
    "modules": words,
    "network_interface": line,
    "results_dir": anything,
    "shared_workspace": anything,
}
MULTI_NODE_ARGS: Section = {
    "RUNNER": choice("torchrun", "mpirun"),
    "MASTER_ADDR": line,
    "MASTER_PORT": port,
    "NNODES": count,
    "NODE_RANK": number,
    "NCCL_SOCKET_IFNAME": line,
    "GLOO_SOCKET_IFNAME": line,
    "HOST_LIST": names,
    "MAD_RUNTIME_NGPUS": count,
}
SLURM_ARGS: Section = {
    "FRAMEWORK": line,
    "PREFILL_NODES": count,
    "DECODE_NODES": count,
    "PARTITION": line,
    "TIME": line,
    "DOCKER_IMAGE": line,
}
SECTIONS: Section = {
    "distributed": DISTRIBUTED,
    "slurm": SLURM,
    "k8s": KUBERNETES,
    "deploy": choice("local", "slurm", "k8s"),
    "env_vars": VARIABLES,
    "context": {"env_vars": VARIABLES},
    "multi_node_args": MULTI_NODE_ARGS,
    "slurm_args": SLURM_ARGS,
    "model": {"name": line, "scripts": line, "args": words},
    "hosts": names,
    "hostfile": text,
    "n_gpus": count,
    "gpu_vendor": choice("nvidia", "amd"),
    "guest_os": anything,
    "debug": anything,
    "pre_scripts": anything,
    "shared_data": anything,
}
# Keys that madengine's own files have, and what is to be known of each.
NOTES = {
    "guest_os": "nothing is built here",
    "debug": "use --verbose",
    "pre_scripts": "nothing is run before the program; call them in the script",
    "shared_data": "nothing is copied or mounted; the program reads it where it is",
    "slurm.results_dir": "nothing is collected there; --log-dir DIR says where logs are written",
    "slurm.shared_workspace": "the program runs in the folder of the call, or in --workdir",
}
# Other spellings, by the section in which they stand.
ALIASES: dict[str, dict[str, str]] = {
    "": {"kubernetes": "k8s"},
    "distributed": {"port": "master_port", "sglang-disagg": "sglang_disagg"},
}


class Setting(NamedTuple):
    """A value as text, and where it was read: ``job.json: distributed.nnodes``."""

    value: str
    origin: str


class Settings(NamedTuple):
    """What was read: the settings by their path, ``distributed.nnodes``; and the sections that
    are there, also empty ones, each with where it was read."""

    values: dict[str, Setting]
    sections: dict[str, str]

    def over(self, other: Settings) -> Settings:
        """These, and of the other those that are not here."""
        return Settings(other.values | self.values, other.sections | self.sections)

    def get(self, path: str) -> Setting | None:
        """A setting, or None where it was not given."""
        return self.values.get(path)

    def under(self, section: str) -> dict[str, Setting]:
        """The settings of one section, by their last key."""
        begin = f"{section}."
        return {
            path.removeprefix(begin): setting
            for path, setting in self.values.items()
            if path.startswith(begin) and "." not in path.removeprefix(begin)
        }


def check(content: Mapping[Any, Any], source: str) -> Settings:
    """The settings in what was read from ``source``; null is not given.

    Raises InputError for an unknown key, with the nearest known one, and for a wrong value; both
    name the source and the section.

    >>> check({"slurm": {"nodes": "2"}}, "job.json").get("slurm.nodes")
    Setting(value='2', origin='job.json: slurm.nodes')
    >>> check({"distributed": {"nnode": 2}}, "job.json")
    Traceback (most recent call last):
    madrun.system.errors.InputError: job.json: distributed: unknown key 'nnode'; did you mean \
'nnodes'?
    """
    found = Settings({}, {})
    try:
        for path, value in _walk(content, SECTIONS, ""):
            if value is None:
                found.sections[path] = source
            else:
                found.values[path] = Setting(value, f"{source}: {path}")
    except InputError as error:
        raise InputError(f"{source}: {error}") from None
    return found


def _walk(content: Mapping[Any, Any], keys: Section, path: str) -> Iterator[tuple[str, str | None]]:
    """Each setting's path and value; a section's path and None."""
    begin, where = (f"{path}.", f"{path}: ") if path else ("", "")
    aliases = ALIASES.get(path, {})
    given: dict[str, str] = {}
    for key, value in content.items():
        if isinstance(key, str) and key.startswith("_"):
            continue  # a comment
        name = aliases.get(key, key) if isinstance(key, str) else key
        kind = _kind(keys, path, name) if isinstance(name, str) else None
        if kind is None:
            raise InputError(
                f"{where}unknown key {shown(key)}; {nearest(str(key), [*keys, *aliases])}"
            )
        if name in given:
            raise InputError(f"{where}{given[name]!r} and {key!r} are the same; one is enough")
        given[name] = key
        if value is None:
            continue
        if isinstance(kind, Variables | Mapping):
            if not isinstance(value, dict):
                raise InputError(f"{where}{key} must be a section, got {shown(value)}")
            yield begin + name, None
            if isinstance(kind, Variables):
                yield from _variables(value, begin + name)
            else:
                yield from _walk(value, kind, begin + name)
            continue
        try:
            yield begin + name, kind(key, value)
        except InputError as error:
            raise InputError(f"{where}{error}") from None


def _kind(keys: Section, path: str, name: str) -> Kind | Variables | Section | None:
    """What a key has to be; a launcher that another package brings has its section as well."""
    found = keys.get(name)
    if found is None and path == "distributed" and word(name) in names_of_launchers():
        return find(name).options
    return found


def _variables(content: Mapping[Any, Any], path: str) -> Iterator[tuple[str, str]]:
    for name, value in content.items():
        if isinstance(name, str) and name.startswith("_comment"):
            continue
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise InputError(
                f"{path}: {shown(name)} is not a variable name; allowed are letters, digits and _"
            )
        if value is None:
            continue
        if isinstance(value, bool | float):
            # It would not arrive as it is written.
            raise InputError(f"{path}: {name} must be a text; write it in quotes")
        yield f"{path}.{name}", text(f"{path}.{name}", value)
