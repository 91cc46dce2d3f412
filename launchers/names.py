"""The names of the launchers, and the other spellings by which people know them."""

from __future__ import annotations

from madrun.system.errors import InputError

NAMES = (
    *("torchrun", "deepspeed", "megatron", "torchtitan", "primus"),
    *("vllm", "sglang", "sglang-disagg"),
)
NATIVE = "native"
BY_HAND = "multi-node-args"  # what a config's section of that name asks for
_ALIASES = {
    "megatron-lm": "megatron",
    "megatronlm": "megatron",
    "sglang-pd": "sglang-disagg",
    "torch": "torchrun",
    "pytorch": "torchrun",
}


def canonical(name: str) -> str:
    """The launcher's own name, for any spelling of it; raises InputError for an unknown one.

    >>> canonical("SGLang_Disagg"), canonical("megatron-lm")
    ('sglang-disagg', 'megatron')
    """
    found = plain(name)
    if found not in (NATIVE, BY_HAND, *NAMES):
        raise InputError(f"Unknown launcher type {name[:60]!r}. Use one of: {', '.join(NAMES)}")
    return found


def plain(name: str) -> str:
    """The launcher's own name where there is one, else the name in the form that names have."""
    word = name.lower().replace("_", "-")
    return _ALIASES.get(word, word)
