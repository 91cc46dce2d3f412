"""Primus: the user's script calls its run_pretrain.sh, which is told everything by variables."""

from __future__ import annotations

from madrun.launchers import per_node
from madrun.launchers.launcher import Launcher, NodeContext
from madrun.launchers.plan import NodePlan
from madrun.options.option_types import line, text
from madrun.system.errors import InputError

# Each variable, and the option that it follows from.
_VARIABLES = {
    "PRIMUS_ROOT": "root",
    "PRIMUS_CONFIG_PATH": "config_path",
    "EXP": "config_path",
    "PRIMUS_CLI_EXTRA": "cli_extra",
    "BACKEND": "backend",
}
_ROOT = "/workspace/Primus"
_DEFAULT_CONFIG = "exp_pretrain.yaml"
_MODELS = "primus_pretrain/"
# What a model's name may begin with, and the backend that it stands for.
_BACKENDS = {
    "maxtext": "MaxText",
    "torchtitan": "torchtitan",
    "megatron_bridge": "megatron_bridge",
    "moe_package": "moe_package",
    "megatron": "megatron",
}


def plan(context: NodeContext) -> NodePlan:
    """The program once per node, with Primus's variables; raises InputError without a config."""
    spec = context.spec
    named = spec.env.get("PRIMUS_CONFIG_PATH") or spec.env.get("EXP", "")
    config = spec.options.get("config_path") or named
    if not config.strip():
        raise InputError(
            "primus: config_path is needed: the experiment's YAML file, as Primus finds it "
            f"({_DEFAULT_CONFIG} in the program's folder would be taken)"
        )
    extra = spec.options.get("cli_extra", "")
    backend = spec.options.get("backend") or backend_of(spec.options.get("model_name", ""))
    own = {
        "PRIMUS_ROOT": spec.options.get("root") or spec.env.get("PRIMUS_ROOT") or _ROOT,
        "PRIMUS_CONFIG_PATH": config,
        "EXP": config,
        **({"PRIMUS_CLI_EXTRA": extra} if extra.strip() else {}),
        **({"BACKEND": backend} if backend else {}),
    }
    said_by = per_node.given_options(spec, _VARIABLES)
    if named and config == _DEFAULT_CONFIG:  # which may only have been found there
        said_by = {name: each for name, each in said_by.items() if each != "the option config_path"}
    return per_node.plan_of(context, (), per_node.agreed(spec, own, said_by))


def backend_of(model: str) -> str:
    """The backend that a model's name tells; empty where it tells none.

    >>> backend_of("primus_pretrain/megatron_bridge_MI300X_qwen3"), backend_of("llama3")
    ('megatron_bridge', '')
    """
    name = model.removeprefix(_MODELS).lower() if model.startswith(_MODELS) else ""
    begins = sorted(_BACKENDS, key=len, reverse=True)
    return next((_BACKENDS[each] for each in begins if name.startswith(f"{each}_")), "")


LAUNCHER = Launcher(
    "primus",
    plan,
    options={
        "config_path": text,
        "cli_extra": text,
        "backend": text,
        "root": text,
        "model_name": line,
    },
    beside_program={"config_path": _DEFAULT_CONFIG},
)
