"""ArcticTraining #316, determined #7294, DeepSpeed #1687: WANDB, HF and others were dropped."""

from __future__ import annotations

from support.here import planned

USUAL = {"WANDB_MODE": "offline", "HF_HOME": "/hf", "NCCL_DEBUG": "INFO", "LD_LIBRARY_PATH": "/l",
         "UCX_TLS": "tcp", "MLFLOW_RUN": "7", "TOKENIZERS_PARALLELISM": "0"}  # fmt: skip


def exported(*words: str) -> dict[str, str]:
    plan = planned(
        "--hosts", "node1,node2", *words, env={**USUAL, "MY_SETTING": "x", "MY_OTHER": "y"}
    )
    env: dict[str, str] = plan["nodes"][1]["processes"][0]["env"]
    return env


def test_the_settings_of_the_field_travel_unasked() -> None:
    assert exported().items() >= USUAL.items()
    assert not {"MY_SETTING", "MY_OTHER"} & exported().keys()


def test_others_by_name_by_prefix_or_all_together() -> None:
    assert exported("--export", "MY_SETTING")["MY_SETTING"] == "x"
    assert exported("--export", "MY_*")["MY_OTHER"] == "y"
    assert exported("--export-all")["MY_OTHER"] == "y"
