"""The ladder of packages, what an import may cost, and how long a file may be."""

from __future__ import annotations

import ast
import configparser
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
# From the top down: a room imports from those below it, never from one above.
LADDER = (
    "runner", "backends", "agent", "job", "launchers", "output", "record",
    "wire", "hosts", "options", "system",
)  # fmt: skip
FILES = [path for name in LADDER for path in sorted((ROOT / name).rglob("*.py"))]
TOO_LONG = 400  # lines; a file is read in one sitting
# Where these may be imported when the module is: by those that use them.
SSH = {
    f"madrun.backends.ssh.{name}"
    for name in (
        "backend",
        "login",
        "tunnel",
        "host_certificate",
        "host_key",
        "identities",
        "reasons",
    )
}
HEAVY = {
    "paramiko": SSH,
    "logging": SSH,
    "asyncio": set[str](),
    "psutil": set[str](),
    "torch": set[str](),
    "kubernetes": set[str](),
    "urllib3": set[str](),
    "yaml": set[str](),
    "zmq": {"madrun.wire.agent_channel", "madrun.wire.runner_channel", "madrun.wire.authenticator"},
}


def module_name(path: Path) -> str:
    return "madrun." + ".".join(path.relative_to(ROOT).with_suffix("").parts)


def imports(tree: ast.AST, top_only: bool = False) -> Iterator[str]:
    """The names of the modules that a file imports; ``from a import b`` is also ``a.b``."""
    nodes = ast.iter_child_nodes(tree) if top_only else ast.walk(tree)
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            assert node.module is not None
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def test_folders_and_packages_are_the_same() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    folders = dict(
        line.split(" = ") for line in config["options"]["package_dir"].strip().splitlines()
    )
    there = {path.parent.relative_to(ROOT).as_posix() for path in FILES}
    names = {f"madrun.{each.replace('/', '.')}": each for each in there}
    assert folders == {"madrun": "src/madrun"} | names
    assert set(config["options"]["packages"].split()) == set(folders)
    assert {path.name for path in (ROOT / "src/madrun").iterdir() if path.is_symlink()} == set(
        LADDER
    )
    for name in LADDER:
        link = ROOT / "src/madrun" / name
        assert link.is_symlink(), f"{link} makes a checkout work uninstalled"
        assert link.resolve() == ROOT / name
        assert (ROOT / name / "__init__.py").is_file()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_arrow_points_upwards(path: Path) -> None:
    height = LADDER.index(path.relative_to(ROOT).parts[0])
    for name in imports(parsed(path)):
        top, _, rest = name.partition(".")
        assert top not in LADDER, f"{name} is madrun.{name}"
        room = rest.partition(".")[0]
        if top == "madrun" and room in LADDER:
            assert LADDER.index(room) >= height, f"{path.relative_to(ROOT)} imports {name}"


def test_no_circles() -> None:
    known = {module_name(path): path for path in FILES}
    graph = {
        name: {each for each in imports(parsed(path)) if each in known and each != name}
        for name, path in known.items()
    }
    while graph:
        ready = {name for name, needs in graph.items() if not needs & graph.keys()}
        assert ready, f"a circle among {sorted(graph)}"
        graph = {name: needs for name, needs in graph.items() if name not in ready}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_heavy_imports_stay_with_those_who_use_them(path: Path) -> None:
    for name in imports(parsed(path), top_only=True):
        top = name.partition(".")[0]
        assert module_name(path) in HEAVY.get(top, {module_name(path)}), f"{name} at the top"


def test_no_file_is_too_long() -> None:
    every = [*FILES, *(ROOT / "tests").rglob("*.py"), *(ROOT / "scripts").rglob("*.py")]
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in every}
    assert {path: length for path, length in lengths.items() if length > TOO_LONG} == {}


def imported_by(*command: str) -> set[str]:
    """Every module that a Python command imports, from ``-X importtime``."""
    env = {key: value for key, value in os.environ.items() if not key.startswith("COVERAGE_")}
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *command],
        capture_output=True, text=True, timeout=100, check=True, env=env,
    )  # fmt: skip
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    return {line.rpartition("|")[2].strip() for line in lines}


SLOW = {"zmq", "paramiko", "psutil", "asyncio", "logging", "cryptography", "email", "http",
        "multiprocessing", "unittest", "urllib.request", "importlib.metadata", "msgpack",
        "ssl", "xml"}  # fmt: skip


@pytest.mark.parametrize(
    ("command", "slow"),
    [
        (
            ("-m", "madrun.runner", "--version"),
            SLOW | {"madrun.runner.launch", "madrun.runner.plan", "madrun.backends.base"},
        ),
        (
            ("-c", "import madrun.system.guard"),
            SLOW | {"click", "socket", "dataclasses", "subprocess"},
        ),
        (
            ("-m", "madrun.agent", "--help"),
            SLOW | {"madrun.agent.agent", "madrun.agent.standalone", "madrun.job"},
        ),
        (
            ("-c", "import madrun.agent.join"),
            SLOW - {"zmq", "msgpack"} | {"click", "inspect", "dataclasses"},
        ),
        (("-c", "import madrun.agent.local_link"), SLOW | {"click", "inspect", "dataclasses"}),
    ],
    ids=lambda value: value[-1] if isinstance(value, tuple) else "",
)
def test_a_start_costs_little(command: tuple[str, ...], slow: set[str]) -> None:
    assert imported_by(*command) & slow == set()


# The runner as it starts; the last act of each of its processes is to say what it has
# loaded, by whatever way: ``-X importtime`` does not see import_module.
LOADED = """
import gc, os, sys
end, report = os._exit, os.dup(2)
def searched():
    return sum(each["collections"] for each in gc.get_stats()[1:])
before = searched()
def told(status):
    words = f"searched {searched() - before} loaded {' '.join(sys.modules)}\\n"
    os.write(report, words.encode())
    end(status)
os._exit = told
from madrun.runner.__main__ import main
main()
"""
START = SLOW - {"zmq", "msgpack"} | {"bz2", "lzma", "shutil", "tempfile"}
OF_TOOLS = {"madrun.backends.tools.tool", "madrun.backends.tools.openssh",
            "madrun.backends.tools.session", "madrun.backends.srun.tool",
            "madrun.backends.ssh.backend"}  # fmt: skip
OTHERS = {f"madrun.backends.{name}" for name in ("impi", "mpich", "mvapich", "openmpi", "pdsh")}
OTHERS |= {"madrun.backends.kubernetes.entry", "kubernetes", "urllib3", "yaml"}


@pytest.mark.parametrize(
    ("words", "slow"),
    [
        (
            ("--nproc-per-node", "2", "--no-python", "true"),
            START | OF_TOOLS | OTHERS | {"madrun.record.pruning", "madrun.wire.key_line"},
        ),
        (
            ("--nproc-per-node", "2", "--launcher", "torchrun", "--dry-run", "x.py"),
            START | OF_TOOLS | OTHERS,
        ),
        (("--hosts", "far.invalid:1", "--dry-run", "x.py"), START | OF_TOOLS | OTHERS),
        (
            ("--help",),  # click asks how wide the terminal is, by shutil
            START - {"bz2", "lzma", "shutil"} | {"madrun.runner.launch", "madrun.runner.plan"},
        ),
    ],
    ids=["a local job", "torchrun", "other hosts", "help"],
)
def test_a_start_loads_no_other_backend(
    words: tuple[str, ...], slow: set[str], tmp_path: Path
) -> None:
    env = {key: value for key, value in os.environ.items() if not key.startswith("COVERAGE_")}
    env |= {"MADRUN_JOB_DIR": str(tmp_path), "COLUMNS": "100"}
    done = subprocess.run(
        [sys.executable, "-c", LOADED, *words],
        capture_output=True, text=True, timeout=100, check=True, env=env,
    )  # fmt: skip
    told = [line.split() for line in done.stderr.splitlines() if line.startswith("searched ")]
    loaded = {name for words in told for name in words[3:]}
    assert "madrun.runner.cli" in loaded, "the runner itself has told"
    assert loaded & slow == set()
    assert {words[1] for words in told} == {"0"}, "it keeps what it makes: no search for garbage"


def test_to_import_a_package_is_to_do_nothing() -> None:
    for path in FILES:
        if path.name == "__init__.py":
            body = parsed(path).body
            assert all(isinstance(node, ast.Expr) for node in body), f"{path}: a docstring"


def test_the_picture_of_the_rooms_is_the_one_of_the_imports() -> None:
    command = [sys.executable, str(ROOT / "scripts" / "draw-architecture"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.stderr, done.returncode) == ("", 0)


def test_every_room_is_described() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `(\w+)/` \|", page, re.MULTILINE) == list(LADDER)
