"""The section ``k8s`` of a config file, which ``--k8s NAME=VALUE`` has too: its keys and values.

A list or a section becomes a text of JSON, and an error names the entry that is wrong.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from madrun.options.option_types import (
    Kind,
    choice,
    count,
    flag,
    line,
    nearest,
    number,
    shown,
    text,
)
from madrun.system.errors import InputError

_QUANTITY = re.compile(r"[0-9]+(\.[0-9]+)?(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?")
_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")
_RESOURCE = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?/[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
_PATH = re.compile(r"/[^\0:]*")

JOB, JOBSET, LEADERWORKERSET = "job", "jobset", "leaderworkerset"
PORT_FORWARD, LOG = "port-forward", "log"
_VOLUME_SOURCES = ("pvc", "config_map", "secret", "host_path", "empty_dir")
_VOLUME_KEYS = ("mount_path", "sub_path", "read_only", *_VOLUME_SOURCES)
_TOLERATION = ("key", "operator", "value", "effect", "tolerationSeconds")
_ENV_FROM = ("secret", "config_map")
_SECRETS = ("image_pull_secrets", "env")


def quantity(name: str, value: object) -> str:
    """An amount as Kubernetes writes it.

    >>> quantity("memory", "16Gi"), quantity("cpu", 2)
    ('16Gi', '2')
    >>> quantity("memory", "16GB")
    Traceback (most recent call last):
    madrun.system.errors.InputError: memory must be an amount as 16Gi, 500m or 8, got '16GB'
    """
    found = text(name, value)
    if not _QUANTITY.fullmatch(found):
        raise InputError(f"{name} must be an amount as 16Gi, 500m or 8, got {shown(value)}")
    return found


def named(name: str, value: object) -> str:
    """The name of an object: a DNS subdomain."""
    found = line(name, value)
    if not _NAME.fullmatch(found):
        raise InputError(
            f"{name} must be a name of lower-case letters, digits, - and ., got {shown(value)}"
        )
    return found


def label_value(name: str, value: object) -> str:
    """What a label can have."""
    found = line(name, value)
    if found and not _LABEL.fullmatch(found):
        raise InputError(
            f"{name} must have at most 63 letters, digits, -, _ and ., got {shown(value)}"
        )
    return found


def resource(name: str, value: object) -> str:
    """The name of a device: ``nvidia.com/gpu``."""
    found = line(name, value)
    if not _RESOURCE.fullmatch(found):
        raise InputError(f"{name} must be a resource as nvidia.com/gpu, got {shown(value)}")
    return found


def path(name: str, value: object) -> str:
    """A place in the container."""
    found = line(name, value)
    if not _PATH.fullmatch(found):
        raise InputError(f"{name} must be a whole path as /data, got {shown(value)}")
    return found


def table(of: Kind) -> Kind:
    """Names and their values, as JSON.

    >>> table(line)("node_selector", {"pool": "a"})
    '{"pool": "a"}'
    """

    def checked(name: str, value: object) -> str:
        content = _structure(name, value)
        if not isinstance(content, Mapping):
            raise InputError(f"{name} must be a section of names and texts, got {shown(value)}")
        return json.dumps(
            {
                line(f"{name}: a name", key): of(f"{name}.{key}", each)
                for key, each in content.items()
            }
        )

    return checked


def entries(of: Callable[[str, object], Any]) -> Kind:
    """A list, as JSON; a single entry is a list of one."""

    def checked(name: str, value: object) -> str:
        content = _structure(name, value)
        listed = content if isinstance(content, list) else [content]
        return json.dumps([of(f"{name}[{at}]", each) for at, each in enumerate(listed)])

    return checked


def secrets(name: str, value: object) -> str:
    """Names of Secrets: those that pull images, and those whose keys become variables."""
    content = _structure(name, value)
    if not isinstance(content, Mapping):
        content = {"image_pull_secrets": content}
    _known(name, content, _SECRETS)
    return json.dumps(
        {key: json.loads(entries(named)(f"{name}.{key}", each)) for key, each in content.items()}
    )


def _volume(name: str, value: object) -> dict[str, Any]:
    content = _section(name, value, _VOLUME_KEYS)
    sources = [each for each in _VOLUME_SOURCES if each in content]
    if len(sources) != 1 or "mount_path" not in content:
        known = ", ".join(_VOLUME_SOURCES)
        raise InputError(f"{name} needs mount_path and one of {known}")
    kinds: Mapping[str, Kind] = {
        "mount_path": path, "sub_path": line, "read_only": flag,
        "host_path": path, "empty_dir": _medium,
    }  # fmt: skip
    return {key: kinds.get(key, named)(f"{name}.{key}", each) for key, each in content.items()}


def _medium(name: str, value: object) -> str:
    if value in ({}, None, "", True, "disk"):
        return "disk"
    return choice("disk", "memory")(name, value)


def _toleration(name: str, value: object) -> dict[str, Any]:
    content = _section(name, value, _TOLERATION)
    found: dict[str, Any] = {key: text(f"{name}.{key}", each) for key, each in content.items()}
    if "operator" in found and found["operator"] not in ("Exists", "Equal"):
        raise InputError(f"{name}.operator must be Exists or Equal, got {shown(found['operator'])}")
    effects = ("NoSchedule", "PreferNoSchedule", "NoExecute")
    if found.get("effect", effects[0]) not in effects:
        raise InputError(
            f"{name}.effect must be one of {', '.join(effects)}; got {shown(found['effect'])}"
        )
    if "tolerationSeconds" in found:
        found["tolerationSeconds"] = int(
            number(f"{name}.tolerationSeconds", found.pop("tolerationSeconds"))
        )
    return found


def _source(name: str, value: object) -> dict[str, str]:
    content = _section(name, value, _ENV_FROM)
    if len(content) != 1:
        raise InputError(f"{name} must be one of {', '.join(_ENV_FROM)}")
    return {key: named(f"{name}.{key}", each) for key, each in content.items()}


def _section(name: str, value: object, known: tuple[str, ...]) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise InputError(f"{name} must be a section, got {shown(value)}")
    _known(name, value, known)
    return value


def _known(name: str, content: Mapping[Any, Any], known: tuple[str, ...]) -> None:
    for key in content:
        if key not in known:
            raise InputError(f"{name}: unknown key {shown(key)}; {nearest(str(key), known)}")


def _structure(name: str, value: object) -> object:
    """What was written, where it came as a text of JSON."""
    if not isinstance(value, str) or not value.strip().startswith(("{", "[")):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        raise InputError(f"{name}: {shown(value)} is no JSON") from None


SECTION: Mapping[str, Kind] = {
    "kubeconfig": line,
    "context": line,
    "namespace": named,
    "kind": choice(JOB, JOBSET, LEADERWORKERSET),
    "image": line,
    "agent_image": line,
    "image_pull_policy": choice("always", "ifnotpresent", "never"),
    "gpu_resource_name": resource,
    "gpu_count": number,
    "memory": quantity,
    "memory_limit": quantity,
    "cpu": quantity,
    "cpu_limit": quantity,
    "shm_size": quantity,
    "ttl_seconds_after_finished": number,
    "active_deadline_seconds": count,
    "channel": choice(PORT_FORWARD, LOG),
    "lease_seconds": count,
    "backoff_limit": number,
    "node_selector": table(label_value),
    "tolerations": entries(_toleration),
    "labels": table(label_value),
    "annotations": table(text),
    "priority_class": named,
    "queue_name": named,
    "host_ipc": flag,
    "host_network": flag,
    "secrets": secrets,
    "env_from": entries(_source),
    "volumes": entries(_volume),
    "data_pvc": named,
    "results_pvc": named,
    "output_dir": line,
    "recreate_shared_data_pvc": flag,
    "service_account": named,
}
