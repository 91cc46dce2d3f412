"""Which variables of the user's environment travel to the workers."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from madrun.hosts.devices import MASKS
from madrun.system.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

# Too few lose the user's settings, all of them break hosts: so those of the whole field.
DEFAULT_PREFIXES: tuple[str, ...] = (
    # collectives, networks, transports
    *("NCCL", "RCCL", "GLOO", "UCX", "UCC_", "FI_", "IBV_", "MLX5_", "RDMAV_", "PSM2_", "PSM3_"),
    *("NVSHMEM", "ROC_SHMEM", "ROCSHMEM", "MSCCL", "SHARP_", "CXI_", "I_MPI_", "MPICH_"),
    *("MV2", "HCCL", "CCL_"),
    # devices and their libraries
    *("CUDA_", "CUBLAS", "CUDNN", "NVTE_", "NVIDIA_TF32", "NV_", "HIP_", "HSA_", "AMD_", "ROCM"),
    *("ROCBLAS", "HIPBLASLT", "TENSILE", "MIOPEN", "AITER", "GPU_", "PRIMUS", "CK_", "THEROCK"),
    *("ASCEND", "TPU_", "NEURON_"),
    # cores
    *("OMP_", "GOMP_", "KMP_", "MKL_", "OPENBLAS", "NUMEXPR", "BLIS_", "VECLIB_", "MALLOC_"),
    # frameworks
    *("TORCH", "PYTORCH", "ATEN_", "TRITON", "XLA", "JAX", "DS_", "DEEPSPEED", "MEGATRON"),
    *("FLASH_ATTENTION", "FLASHINFER", "LIGHTNING", "PL_", "ACCELERATE_", "VLLM_", "SGLANG_"),
    *(
        "FSDP_",
        "PARALLELISM_CONFIG_",
        "COMPOSER_",
        "PJRT_",
        "TQDM_",
        "SGL_",
        "RAY_",
        "LMCACHE",
        "MOONCAKE",
        "NIXL_",
        "TRTLLM_",
        "UNSLOTH",
        "BNB_",
    ),
    # models, data, trackers
    *("HF_", "HUGGINGFACE", "TRANSFORMERS", "TOKENIZERS", "DATASETS", "DIFFUSERS", "MODELSCOPE"),
    *("WANDB", "MLFLOW", "COMET", "NEPTUNE", "CLEARML", "TENSORBOARD", "SWANLAB", "AIM_", "DVC_"),
    # Python itself
    *("PYTHON", "CONDA_", "VIRTUAL_ENV"),
)

# By name: TF_ is also the prefix of another program's variables, and those hold passwords.
_TENSORFLOW: tuple[str, ...] = (
    *("TF_CONFIG", "TF_CPP_MIN_LOG_LEVEL", "TF_CPP_MAX_VLOG_LEVEL", "TF_CPP_VMODULE"),
    *("TF_FORCE_GPU_ALLOW_GROWTH", "TF_GPU_ALLOCATOR", "TF_GPU_THREAD_MODE", "TF_GPU_THREAD_COUNT"),
    *("TF_XLA_FLAGS", "TF_ENABLE_ONEDNN_OPTS", "TF_DETERMINISTIC_OPS", "TF_CUDNN_DETERMINISTIC"),
    *("TF_CUDNN_USE_AUTOTUNE", "TF_ENABLE_AUTO_MIXED_PRECISION", "TF_USE_LEGACY_KERAS"),
    *("TF_NUM_INTEROP_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_DISABLE_MKL"),
)

DEFAULT_NAMES: tuple[str, ...] = (
    *_TENSORFLOW,
    *("USE_LIBUV", "LOGLEVEL", "FORCE_COLOR"),
    *("PATH", "LD_LIBRARY_PATH", "LIBRARY_PATH", "CPATH", "LANG", "LC_ALL", "TZ"),
    *("http_proxy", "https_proxy", "no_proxy", "all_proxy"),
    *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
)

# Where this machine's software is: an image has its own.
_OF_SOFTWARE: tuple[str, ...] = (
    *("PATH", "LD_LIBRARY_PATH", "LIBRARY_PATH", "CPATH", "VIRTUAL_ENV", "CONDA_*"),
    *("PYTHONPATH", "PYTHONHOME", "PYTHONUSERBASE", "PYTHONPYCACHEPREFIX", "PYTHONSTARTUP"),
    *("CUDA_HOME", "CUDA_PATH", "CUDA_ROOT", "ROCM_PATH", "ROCM_HOME", "HIP_PATH"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
)

_RANKS: tuple[str, ...] = (
    *("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "NODE_RANK", "GROUP_RANK"),
    *("ROLE_RANK", "ROLE_WORLD_SIZE", "GROUP_WORLD_SIZE", "NNODES", "NPROC_PER_NODE"),
    *("LOCAL_SIZE", "CROSS_RANK", "CROSS_SIZE", "MASTER_ADDR", "MASTER_PORT"),
    *("ROLE_NAME", "TORCHELASTIC_RUN_ID", "TORCHELASTIC_RESTART_COUNT"),
    *("TORCHELASTIC_MAX_RESTARTS", "MADRUN_JOB_ID", "MADRUN_RESTART_COUNT"),
)
_LOGIN: tuple[str, ...] = (
    *("HOME", "PWD", "OLDPWD", "SHLVL", "USER", "LOGNAME", "SHELL", "MAIL"),
    *("DISPLAY", "XAUTHORITY", "SSH_*"),
)

# What belongs to one host, one login or one scheduler's task; a name, or a prefix with a star.
NEVER: tuple[str, ...] = (
    *_RANKS,
    *_LOGIN,
    *("XDG_*", "DBUS_*", "TERM", "TERM_*", "COLORTERM", "LS_COLORS", "COLUMNS", "LINES", "_"),
    *("HOSTNAME", "HOST", "HOSTTYPE", "TMPDIR", "TMP", "TEMP", "TMUX", "TMUX_PANE", "STY", "TTY"),
    *("WINDOWID", "WAYLAND_DISPLAY", "SUDO_*", "GPG_*", "KRB5CCNAME", "VSCODE_*", "BASH_FUNC_*"),
    *("INVOCATION_ID", "JOURNAL_STREAM", "NOTIFY_SOCKET", "LISTEN_*", "SYSTEMD_*"),
    # device masks: of this machine's devices
    *("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "GPU_DEVICE_ORDINAL"),
    *("NVIDIA_VISIBLE_DEVICES", "AMD_VISIBLE_DEVICES", "ZE_AFFINITY_MASK"),
    *("ASCEND_VISIBLE_DEVICES", "ASCEND_RT_VISIBLE_DEVICES", "TPU_VISIBLE_*"),
    *("NEURON_RT_VISIBLE_CORES", "NEURON_RT_ROOT_COMM_ID"),
    # schedulers and other launchers: they describe the task that madrun itself is
    *("SLURM_*", "SLURMD_*", "PBS_*", "LSB_*", "OMPI_*", "PMIX_*", "PMI_*", "HYDRA_*", "PALS_*"),
    *("PRTE_*", "PRRTE_*", "FLUX_*", "SGE_*", "MPI_LOCALRANKID", "MPI_LOCALNRANKS", "PMI2_*"),
    *("TORCHELASTIC_*", "MADRUN_*"),
)

_NAME = r"[A-Za-z_][A-Za-z0-9_]*"


def without_software(variables: Mapping[str, str]) -> dict[str, str]:
    """Without those that say where this machine's software is.

    >>> without_software({"PATH": "/usr/bin", "CONDA_PREFIX": "/conda", "NCCL_DEBUG": "INFO"})
    {'NCCL_DEBUG': 'INFO'}
    """
    names = {name for name in _OF_SOFTWARE if not name.endswith("*")}
    begins = tuple(name[:-1] for name in _OF_SOFTWARE if name.endswith("*"))
    return {
        name: value
        for name, value in variables.items()
        if name not in names and not name.startswith(begins)
    }


def select(
    environ: Mapping[str, str],
    exports: Sequence[str],
    prefixes: Sequence[str] = DEFAULT_PREFIXES,
    names: Sequence[str] = DEFAULT_NAMES,
    *,
    everything: bool = False,
) -> dict[str, str]:
    """The variables that travel: the usual ones, or everything, and those asked for.

    An export is ``NAME``, ``NAME=VALUE``, or a prefix with a star; the later of two wins. What
    NEVER lists travels only where it is asked for by name. Raises InputError for a NAME that is
    not set, a prefix of which nothing may travel, and for what `refusal` refuses.

    >>> select({"NCCL_DEBUG": "INFO", "HOME": "/root", "EDITOR": "vi"}, ["SEED=1"])
    {'NCCL_DEBUG': 'INFO', 'SEED': '1'}
    """
    chosen = {
        name: value
        for name, value in environ.items()
        if (everything or name in names or name.startswith(tuple(prefixes))) and not is_never(name)
    }
    return chosen | asked(environ, exports)


def asked(environ: Mapping[str, str], exports: Sequence[str]) -> dict[str, str]:
    """The variables that were asked for, the later of two winning; raises as `select` does."""
    chosen: dict[str, str] = {}
    for export in exports:
        chosen |= _asked(environ, export)
    return chosen


def is_never(name: str) -> bool:
    """Whether a variable stays here unless it is asked for by name.

    >>> is_never("SLURM_PROCID"), is_never("NCCL_DEBUG")
    (True, False)
    """
    return _matches(name, _NEVER)


def refusal(name: str) -> str | None:
    """Why a variable cannot travel even where it is asked for; None where it can."""
    if name in _RANKS:
        return "madrun sets it for every worker itself"
    if name in MASKS:
        return "the devices are chosen by slots, under the mask that each node has of its own"
    if _matches(name, _LOGIN_SPLIT):
        return "it belongs to the login on each host, which has its own"
    return None


def _asked(environ: Mapping[str, str], export: str) -> dict[str, str]:
    name, equals, value = export.partition("=")
    if not equals and name.endswith("*"):
        return _globbed(environ, name[:-1])
    if equals and not re.fullmatch(_NAME, name):
        raise InputError(
            f"--export {name!r}=...: not a variable name; allowed are letters, digits and _"
        )
    if reason := refusal(name):
        raise InputError(f"--export {name}: it cannot be exported: {reason}")
    if equals:
        return {name: value}
    if name not in environ:
        raise InputError(f"--export {name!r}: it is not set here; NAME=VALUE gives it a value")
    return {name: environ[name]}


def _globbed(environ: Mapping[str, str], prefix: str) -> dict[str, str]:
    if any(character in prefix for character in "*?["):
        raise InputError(f"--export {prefix + '*'!r}: only a prefix may have a star, as in NCCL_*")
    matching = [name for name in environ if name.startswith(prefix)]
    allowed = {name: environ[name] for name in matching if not is_never(name)}
    if matching and not allowed:
        raise InputError(
            f"--export {prefix}*: these belong to this machine or its scheduler;"
            " export single ones by name"
        )
    return allowed


def _split(patterns: Iterable[str]) -> tuple[frozenset[str], tuple[str, ...]]:
    """Whole names, and prefixes without their star: two look-ups instead of a hundred."""
    listed = tuple(patterns)
    names = frozenset(pattern for pattern in listed if not pattern.endswith("*"))
    return names, tuple(pattern[:-1] for pattern in listed if pattern.endswith("*"))


def _matches(name: str, split: tuple[frozenset[str], tuple[str, ...]]) -> bool:
    return name in split[0] or name.startswith(split[1])


_NEVER = _split(NEVER)
_LOGIN_SPLIT = _split(_LOGIN)
