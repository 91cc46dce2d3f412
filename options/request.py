"""What a user asks for: every option of madrun and madagent, group by group, once.

A field's type and default, and the option beside it, are all that the commands, a config file and
the record know of it. A field without an option has a place in config files only.
"""

# Annotations are objects here, not text, which each start would have to compile and evaluate.

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import Annotated, Any, NamedTuple, get_args, get_type_hints

from madrun.options.option import BOTH, MADAGENT, Option
from madrun.options.spec_groups import EXEC, MODULE, PYTHON, Limits, Master, Workers

NO_LOGS = "none"  # a folder of that name is ./none
NO_LIMIT = "none"
_NOTHING: Mapping[str, str] = MappingProxyType({})

# fmt: off


class Selection(NamedTuple):
    """Which hosts and slots; None or empty is not asked.

    ``gpu_vendor`` is that of nodes that a dry run does not ask.
    """

    hostfile: Annotated[str | None, Option("-H --hostfile",
        "MPI hostfile, in rank order.", "FILE", of=BOTH)] = None
    hosts: Annotated[str | None, Option("--hosts --host",
        "Hosts inline: 'node[01-04]:8,big:4'.", "LIST", of=BOTH)] = None
    include: Annotated[str, Option("-i --include",
        "Only these hosts and slots: 'node01@node02:0,2'.", "FILTER", of=BOTH)] = ""
    exclude: Annotated[str, Option("-e --exclude", "All but these.", "FILTER", of=BOTH)] = ""
    nnodes: Annotated[int | None, Option("--nnodes --num-nodes",
        "The first N hosts.", "N", of=BOTH)] = None
    nproc_per_node: Annotated[int | str | None, Option(
        "--nproc-per-node --num-gpus --num-accelerators",
        "Workers on each host: its first N slots, or auto, gpu, cpu. Default: all its slots.", "N",
        choices=("auto", "gpu", "cpu"), of=BOTH)] = None
    gpu_vendor: str = ""

    @property
    def workers(self) -> int | None:
        """How many workers a host is to have, where that was said as a number."""
        return self.nproc_per_node if isinstance(self.nproc_per_node, int) else None


class Place(NamedTuple):
    """Which node of a job this is, where its nodes are started one by one."""

    world_info: Annotated[str, Option("--world-info",
        "The hosts and their devices, as DeepSpeed encodes them.", "BASE64", of=MADAGENT)] = ""
    node_rank: Annotated[int | None, Option("--node-rank",
        "Default: the place of this machine's name among the hosts.", "N", of=MADAGENT)] = None
    key_file: Annotated[str, Option("--key-file",
        "A key, the same on all nodes: by it they meet, and end together.", "FILE",
        of=MADAGENT)] = ""


class Program(NamedTuple):
    """What is run. ``section`` are the launcher's own options that a config gives."""

    argv: tuple[str, ...] = ()
    module: Annotated[bool, Option("-m --module", "PROGRAM is a Python module.", of=BOTH)] = False
    no_python: Annotated[bool, Option("--no-python",
        "PROGRAM is run as it is, not by Python.", of=BOTH)] = False
    launcher: Annotated[str, Option("--launcher",
        "What runs on a node.", "NAME", of=BOTH)] = "native"
    launcher_opts: Annotated[tuple[str, ...], Option("--launcher-opt",
        "An option of the launcher, as in its config section. Repeatable.", "NAME=VALUE",
        of=BOTH)] = ()
    no_local_rank: Annotated[bool, Option("--no-local-rank",
        "The default; accepted for DeepSpeed.", of=BOTH)] = False
    python: Annotated[str, Option("--remote-python",
        "Python on the nodes. Default: the one that runs madrun.", "PATH")] = ""
    venv_script: Annotated[str, Option("--venv-script",
        "The 'activate' of a virtual environment on the nodes: use its Python.", "FILE")] = ""
    workdir: Annotated[str, Option("--workdir",
        "The workers' folder on every node. Default: this folder's path.", "DIR", of=BOTH)] = ""
    section: Mapping[str, str] = _NOTHING

    @property
    def interpreter(self) -> str:
        """The Python that was asked for; empty where none was."""
        folder = self.venv_script.rpartition("/")[0]
        return self.python or (f"{folder or '.'}/python" if self.venv_script else "")

    @property
    def mode(self) -> str:
        """How the program is run."""
        return MODULE if self.module else EXEC if self.no_python else PYTHON


class Nodes(NamedTuple):
    """How agents get onto the nodes."""

    backend: Annotated[str, Option("--backend",
        "How agents get onto the nodes.", "NAME")] = "auto"
    backend_args: Annotated[str, Option("--backend-args --launcher-args",
        "Further words for the backend's tool.", "WORDS")] = ""
    force_multi: Annotated[bool, Option("--force-multi",
        "Log in by ssh even where this machine is the only host; DeepSpeed's.")] = False


class Ssh(NamedTuple):
    """How to log in; None and empty leave it to ssh_config and the usual keys. Seconds."""

    user: Annotated[str, Option("--ssh-user", "Whom to log in as.", "NAME")] = ""
    port: Annotated[int | None, Option("--ssh-port",
        "Default: the hostfile's, ssh_config's, 22.", "PORT", 1, 65535)] = None
    key: Annotated[str, Option("--ssh-key", "The private key to offer.", "FILE")] = ""
    accept_new: Annotated[bool, Option("--ssh-accept-new",
        "Trust a host key on first use.")] = False
    connect_timeout: Annotated[float, Option("--connect-timeout",
        "For one login attempt.", low=0.1, high=3600)] = 10.0
    fan_out: Annotated[int, Option("--fan-out", "Logins at the same time.", "N", 1, 4096)] = 64


class Environment(NamedTuple):
    """Which variables travel. ``section`` are those of a config, which may be secrets."""

    exports: Annotated[tuple[str, ...], Option("--export -x",
        "Give this variable to the workers; also NCCL_*. Repeatable.", "NAME[=VALUE]")] = ()
    export_all: Annotated[bool, Option("--export-all",
        "Export all but what belongs to a machine.")] = False
    env_files: Annotated[tuple[str, ...], Option("--env-file",
        "NAME=VALUE lines for the workers. Repeatable.", "FILE")] = ()
    section: Mapping[str, str] = _NOTHING


class Console(NamedTuple):
    """What is shown, and who reads."""

    output: Annotated[str, Option("--output",
        "Whose output is shown: all, first, none, or ranks as 0,3-5.", "RANKS", of=BOTH)] = "all"
    stdin: Annotated[str, Option("--stdin",
        "Who reads this command's stdin: a rank, all, or none.", "RANK", of=BOTH)] = "0"
    no_prefix: Annotated[bool, Option("--no-prefix",
        "Show lines without [host:rank].", of=BOTH)] = False
    fold: Annotated[bool, Option("--fold",
        "Show a line that several ranks write once.", of=BOTH)] = False
    color: Annotated[str, Option("--color", "auto: on a terminal, unless $NO_COLOR is set.",
        choices=("auto", "always", "never"), of=BOTH)] = "auto"
    json: Annotated[bool, Option("--json",
        "The job's events as JSON lines; with --dry-run one object.")] = False
    show_values: Annotated[bool, Option("--show-values",
        "With --dry-run: the values of exported variables too, which may be secrets.")] = False
    quiet: Annotated[bool, Option("-q --quiet",
        "Say nothing but errors and what the workers write.")] = False
    verbose: Annotated[bool, Option("-v --verbose",
        "Say how long each host took to start.", of=BOTH)] = False


class Record(NamedTuple):
    """What is kept of the job."""

    log_dir: Annotated[str, Option("--log-dir --enable-each-rank-log",
        "Write rank0003.out and .err there, on each node; none: nowhere.", "DIR", of=BOTH)] = ""
    log_limit: Annotated[str, Option("--log-limit",
        "Of a larger log file, keep beginning and end. Default: $MADRUN_LOG_LIMIT, 1GB; none.",
        "SIZE", of=BOTH)] = ""
    job_dir: Annotated[str, Option("--job-dir",
        "Where each job leaves a folder. Default: $MADRUN_JOB_DIR, ~/.madrun/jobs.", "DIR",
        of=BOTH)] = ""
    keep_jobs: Annotated[str, Option("--keep-jobs",
        "Records to keep there. Default: $MADRUN_KEEP_JOBS, 50,2GB; all: no limit.", "N,SIZE",
        of=BOTH)] = ""
    pid_file: Annotated[str, Option("--pid-file",
        "Write madrun's process id there while the job lives.", "FILE", of=BOTH)] = ""
    save_pid: Annotated[bool, Option("--save-pid",
        "The same, as 'pid' in the job's folder.", of=BOTH)] = False


class Serving(NamedTuple):
    """What is asked of an inference server."""

    client: Annotated[str, Option("--client",
        "Run this against the server once it is ready; its status is the job's.", "COMMAND",
        of=BOTH)] = ""


class Config(NamedTuple):
    """Where more is said."""

    files: Annotated[tuple[str, ...], Option("--config",
        "Settings in JSON, TOML or YAML; what is typed wins. Repeatable.", "FILE")] = ()
    texts: Annotated[tuple[str, ...], Option("--additional-context",
        "The same sections inline: \"{'distributed': {...}}\". Repeatable.", "TEXT")] = ()


class Submit(NamedTuple):
    """A batch job instead of one that starts now. ``section`` is the config's."""

    scheduler: Annotated[str, Option("--submit",
        "Submit a batch job that runs this; --dry-run shows its script.", "slurm",
        choices=("", "slurm"))] = ""
    settings: Annotated[tuple[str, ...], Option("--slurm",
        "For --submit: partition, time, gpus_per_node, ... Repeatable.", "NAME=VALUE")] = ()
    wait: Annotated[bool, Option("--wait",
        "For --submit: show the job's output and return its status.")] = False
    section: Mapping[str, str] = _NOTHING


class Kubernetes(NamedTuple):
    """How pods are made. ``section`` is the config's."""

    image: Annotated[str, Option("--image",
        "For --backend kubernetes: the container image in which the program runs.", "IMAGE")] = ""
    agent_image: Annotated[str, Option("--agent-image",
        "An image that has madrun in /opt/madrun, for an --image that has none.", "IMAGE")] = ""
    ship: Annotated[tuple[str, ...], Option("--ship",
        "Copy this script or folder into the pods, at most 1 MiB in all. Repeatable.",
        "PATH")] = ()
    settings: Annotated[tuple[str, ...], Option("--k8s",
        "A setting of the config's section k8s: namespace, memory, ... Repeatable.",
        "NAME=VALUE")] = ()
    detach: Annotated[bool, Option("--detach",
        "Return once the job runs; it does not need this command any more.")] = False
    section: Mapping[str, str] = _NOTHING


class Request(NamedTuple):
    """All that one command line and its config ask for, by headings of the help.

    ``origins`` tells by option, or by a setting's path in the config, where a value came from,
    ``notes`` what the user should know of the config.
    """

    selection: Annotated[Selection, "Where it runs"] = Selection()
    place: Annotated[Place, "This node's place"] = Place()
    program: Annotated[Program, "What is run"] = Program()
    master: Annotated[Master, "Where the workers meet"] = Master()
    nodes: Annotated[Nodes, "How agents get onto the nodes"] = Nodes()
    ssh: Annotated[Ssh, "Logging in"] = Ssh()
    limits: Annotated[Limits, "How long things may take"] = Limits()
    environment: Annotated[Environment, "Environment"] = Environment()
    workers: Annotated[Workers, "Devices and cores"] = Workers()
    console: Annotated[Console, "Output"] = Console()
    record: Annotated[Record, "Logs and record"] = Record()
    serving: Annotated[Serving, "Inference servers"] = Serving()
    config: Annotated[Config, "From a file"] = Config()
    submit: Annotated[Submit, "Slurm"] = Submit()
    kubernetes: Annotated[Kubernetes, "Kubernetes"] = Kubernetes()
    dry_run: Annotated[bool, Option("--dry-run",
        "Show who would run what; contact nobody.")] = False
    origins: Mapping[str, str] = _NOTHING
    notes: tuple[str, ...] = ()


# fmt: on


class Field(NamedTuple):
    """One option with its place in the request: the group (empty: the request itself), the field,
    its type and default, and the heading under which the help has it."""

    group: str
    name: str
    kind: Any
    default: Any
    option: Option
    heading: str


@cache
def fields() -> Mapping[str, Field]:
    """Every option by its key, in the order of the help."""
    found: dict[str, Field] = {}
    for group, (kind, *about) in _annotations(Request):
        if isinstance(about[0], Option):
            default = Request._field_defaults[group]
            found[about[0].key] = Field("", group, kind, default, about[0], "The rest")
            continue
        for name, (of, *option) in _annotations(kind):
            default = kind._field_defaults[name]
            found[option[0].key] = Field(group, name, of, default, option[0], about[0])
    return found


def _annotations(group: type) -> list[tuple[str, tuple[Any, ...]]]:
    """The fields that are annotated with more than a type."""
    hints = get_type_hints(group, include_extras=True)
    return [(name, get_args(hint)) for name, hint in hints.items() if hasattr(hint, "__metadata__")]


def changed(request: Request, values: Mapping[str, Any]) -> Request:
    """The request with these values, by the keys of their options.

    >>> changed(Request(), {"nnodes": 2, "dry_run": True}).selection.nnodes
    2
    """
    groups: dict[str, dict[str, Any]] = {}
    for key, value in values.items():
        field = fields()[key]
        groups.setdefault(field.group, {})[field.name] = value
    whole = groups.pop("", {})
    nested = {name: getattr(request, name)._replace(**given) for name, given in groups.items()}
    return request._replace(**whole, **nested)


def value_of(request: Request, key: str) -> Any:
    """The value of one option, by its key."""
    field = fields()[key]
    return getattr(getattr(request, field.group) if field.group else request, field.name)


def asked_for(request: Request) -> dict[str, Any]:
    """The values that are not the defaults, by the keys of their options."""
    values = {key: value_of(request, key) for key in fields()}
    return {key: value for key, value in values.items() if value != fields()[key].default}
