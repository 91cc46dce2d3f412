"""The options that each launcher has of its own: the keys of its section in a config file.

They reach the launcher as texts in ``JobSpec.options``; ``--launcher-opt`` and the config file
take their names and kinds from here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from madrun.options.option_types import (
    Kind,
    choice,
    count,
    flag,
    line,
    nearest,
    number,
    port,
    text,
    words,
)
from madrun.system.errors import InputError

_DEGREES: dict[str, Kind] = {
    "tensor_parallel_size": count,
    "pipeline_parallel_size": count,
}
_SERVER: dict[str, Kind] = {"model": text, "port": port, "args": words}

OPTIONS: dict[str, dict[str, Kind]] = {
    "native": {},
    "torchrun": {"min_nodes": count, "max_nodes": count, "max_restarts": number},
    "deepspeed": {},
    "megatron": {
        **_DEGREES,
        "context_parallel_size": count,
        "expert_parallel_size": count,
        "inject_args": flag,
    },
    "torchtitan": {
        "module": text,
        "config": text,
        **_DEGREES,
        "context_parallel_size": count,
        "dp_replicate": count,
        "dp_shard": count,
    },
    "primus": {
        "config_path": text,
        "cli_extra": text,
        "backend": text,
        "root": text,
        "model_name": line,
    },
    "vllm": {
        **_SERVER,
        "mode": choice("auto", "single", "ray", "mp", "dp", "replicas"),
        **_DEGREES,
        "data_parallel_size": count,
        "data_parallel_rpc_port": port,
        "distributed_executor_backend": line,
    },
    "sglang": {**_SERVER, **_DEGREES},
    "sglang-disagg": {
        **_SERVER,
        "prefill_nodes": number,
        "decode_nodes": number,
        "bootstrap_port": port,
        "transfer_backend": choice("mooncake", "nixl", "ascend", "mori", "mooncake_tcp", "fake"),
    },
}


def typed(launcher: str, texts: Sequence[str]) -> dict[str, str]:
    """The options of a launcher from ``--launcher-opt NAME=VALUE``; raises InputError.

    >>> typed("torchrun", ["max-restarts=3"])
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
        raise InputError(f"--launcher-opt, launcher {launcher}: {error}") from None


def checked(launcher: str, options: Mapping[str, object]) -> dict[str, str]:
    """The options of a launcher, each checked; None is not given.

    Raises InputError for a wrong value, and for an unknown name with the nearest known one.

    >>> checked("megatron", {"tensor_parallel_size": "4", "inject_args": True})
    {'tensor_parallel_size': '4', 'inject_args': 'true'}
    >>> checked("megatron", {"tensor_parallel": 4})
    Traceback (most recent call last):
    madrun.system.errors.InputError: unknown key 'tensor_parallel'; did you mean \
'tensor_parallel_size'?
    """
    kinds = OPTIONS[launcher]
    found: dict[str, str] = {}
    for name, value in options.items():
        if name not in kinds:
            raise InputError(f"unknown key {name[:60]!r}; {nearest(name, kinds)}")
        if value is not None:
            found[name] = kinds[name](name, value)
    return found
