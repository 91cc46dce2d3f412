"""The documentation is true: links lead somewhere, options are there, examples do what is shown.

Fenced blocks are marked in their first line; CONTRIBUTING.md says the same to those who write:

``console run``  is run by one shell, in a new folder with ``examples`` and the README's first
                 hostfile as ``hosts``, and what it prints has to be what stands there.
                 ``...`` is anything; process ids, times and job ids may differ.
``console``      its commands of ours are read and planned, but not run.
``hostfile``     has to be a hostfile.
``slurm``        is run by a shell on a real Slurm: tests/slurm/test_documentation.py.
``yaml``         is checked as an object of Kubernetes: tests/kubernetes/test_manifests.py.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import click
import pytest

from madrun.agent import cli as agent_cli
from madrun.agent.standalone import by_hand
from madrun.hosts.hostfile import parse_hostfile
from madrun.runner import cli as runner_cli
from madrun.runner.plan import make_plan

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
COMMANDS = {"madrun": runner_cli.command, "madagent": agent_cli.command}
# Slots count the entries of a mask: so examples do the same with and without GPUs.
FOUR_GPUS = "0,1,2,3"
LIMIT = 60.0  # seconds for one block

_FENCE = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]\n]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ +(.*?) *$", re.MULTILINE)
_OPTION = re.compile(r"`(-[-a-z0-9]*[a-zA-Z0-9])`")
# What is another one in each run, as it is compared.
_VARYING = [
    (re.compile(r"\bpid \d+"), "pid N"),
    (re.compile(r"\b\d\d:\d\d:\d\d\b"), "HH:MM:SS"),
    (re.compile(r"\b\d+\.\d s after\b"), "N s after"),
    (re.compile(r"\b\d{8}-\d{6}-[0-9a-f]{6}\b"), "JOB"),
]


@dataclass(frozen=True)
class Block:
    """A fenced block: where it is, how it is marked, its text."""

    page: Path
    line: int
    mark: str
    text: str

    def steps(self) -> list[tuple[str, str]]:
        """Commands, each with the output that is shown."""
        found = re.split(r"^\$ (.*)\n", self.text, flags=re.MULTILINE)
        return list(zip(found[1::2], found[2::2], strict=True))


def blocks(mark: str) -> list[Block]:
    """All blocks of a kind, on all pages."""
    return [
        Block(page, text.count("\n", 0, found.start()) + 1, mark, found[2])
        for page in PAGES
        for text in [page.read_text(encoding="utf-8")]
        for found in _FENCE.finditer(text)
        if found[1] == mark
    ]


def place(value: object) -> str:
    """The name of a block in pytest's list."""
    return f"{value.page.name}:{value.line}" if isinstance(value, Block) else ""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where examples are at home."""
    first = next(block for block in blocks("hostfile") if block.page.name == "README.md")
    home = tmp_path / "home"
    home.mkdir()
    (tmp_path / "hosts").write_text(first.text, encoding="utf-8")
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(home))
    return tmp_path


# ---- links


def slug(heading: str) -> str:
    """The anchor of a heading, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def headings(page: Path) -> set[str]:
    """The anchors of a page."""
    return {slug(text) for text in _HEADING.findall(_prose(page))}


def _prose(page: Path) -> str:
    return _FENCE.sub("", page.read_text(encoding="utf-8"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in _LINK.findall(_prose(page)):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.is_relative_to(ROOT), link
        assert target.exists(), link
        assert not anchor or anchor in headings(target), link


def test_every_page_is_reached_from_the_readme() -> None:
    linked = {link.partition("#")[0] for link in _LINK.findall(_prose(ROOT / "README.md"))}
    assert {page.relative_to(ROOT).as_posix() for page in PAGES} - {"README.md"} <= linked


# ---- options


def documented(command: str) -> list[str]:
    """The options that the tables of docs/options.md give a command."""
    names: list[str] = []
    for line in (ROOT / "docs" / "options.md").read_text(encoding="utf-8").splitlines():
        if line.startswith("| `-"):
            cell, whose, _ = (cell.strip() for cell in line[1:].split(" | ", 2))
            assert whose in ("both", *COMMANDS), line
            names += _OPTION.findall(cell) if whose in ("both", command) else []
    return names


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_options_are_those_of_the_command(name: str) -> None:
    context = COMMANDS[name].make_context(name, [], resilient_parsing=True)
    parameters = COMMANDS[name].get_params(context)
    options = [each for each in parameters if isinstance(each, click.Option) and not each.hidden]
    there = [spelling for each in options for spelling in (*each.opts, *each.secondary_opts)]
    assert sorted(documented(name)) == sorted(there)


def _ours(code: str) -> str:
    """What is said to us: a bare option, or what follows the name of one of our commands."""
    first = re.split(rf"\b(?:{'|'.join(COMMANDS)})\b", code, maxsplit=1)
    return first[-1] if len(first) > 1 or code.startswith("-") else ""


def test_options_that_prose_mentions_are_there() -> None:
    known = {each for command in COMMANDS for each in documented(command)}
    # Other programs', as they begin.
    torchruns = ("--local-rank", "--standalone", "--max-restarts", "--rdzv-", "--no-ssh")
    models = ("--host", "--parallelism", "--module", "--config", "--model")
    slurms = ("--ntasks", "--gpus", "--gpu-bind", "--cpus", "--mem", "--exclusive", "--overlap")
    madengines = ("--manifest-file", "--tags", "--force-mirror", "--additional-context-file")
    others = (
        *torchruns,
        *models,
        *slurms,
        *madengines,
        "--kill-on-bad-exit",
        "--nodelist",
        "--time",
    )
    for page in PAGES:
        for code in re.findall(r"`([^`\n]*)`", _prose(page)):
            for option in re.findall(r"(?<!\S)--[a-z][a-z0-9_-]*", _ours(code)):
                name = option.replace("_", "-")
                assert name in known or name.startswith(others), f"{page.name}: {code}"


# ---- examples


@pytest.mark.parametrize("block", blocks("hostfile"), ids=place)
def test_hostfiles_are_hostfiles(block: Block) -> None:
    assert parse_hostfile(block.text, block.page.name)


@pytest.mark.parametrize("block", blocks("console"), ids=place)
def test_commands_are_understood(block: Block, folder: Path) -> None:
    for line, _ in block.steps():
        name, *args = shlex.split(line)
        if name not in COMMANDS:
            continue
        if name == "madrun":
            request = runner_cli.parsed(args)
            assert make_plan(request, {}, str(folder), sys.executable).spec.argv
        else:
            request = COMMANDS[name].main(args, prog_name=name, standalone_mode=False)
            if request.place.node_rank is None:  # nobody here is called node01
                request = request._replace(place=request.place._replace(node_rank=0))
            assert by_hand.job_of(request)[0].argv


def as_pattern(shown: str) -> str:
    """What is shown, as a pattern; ``...`` alone on a line is any number of lines, also none."""
    lines = [re.escape(line).replace(r"\.\.\.", ".*") for line in alike(shown).splitlines()]
    return "".join("(?:.*\n)*?" if line == ".*" else f"{line}\n" for line in lines)


def alike(text: str) -> str:
    """The text with one form for all that varies."""
    for pattern, form in _VARYING:
        text = pattern.sub(form, text)
    return text


def outputs(commands: list[str], cwd: Path) -> list[str]:
    """What each command prints, to stdout and stderr; one shell runs all of them."""
    mark = "-- end of a command --"
    # The status is put back, so that the next one can ask for $?.
    script = "".join(f"{each}\ns=$?; echo '{mark}'; (exit $s)\n" for each in commands)
    measured = {name: value for name, value in os.environ.items() if name.startswith("COVERAGE_")}
    environment = {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "HOME": os.environ["HOME"],
        "LANG": "C.UTF-8",
        "CUDA_VISIBLE_DEVICES": FOUR_GPUS,
        **measured,
    }
    done = subprocess.run(
        ["sh", "-c", script],
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    return done.stdout.split(f"{mark}\n")[: len(commands)]


@pytest.mark.slow
@pytest.mark.parametrize("block", blocks("console run"), ids=place)
def test_examples_do_what_is_shown(block: Block, folder: Path) -> None:
    steps = block.steps()
    printed = outputs([command for command, _ in steps], folder)
    for (command, shown), got in zip(steps, printed, strict=True):
        if not re.fullmatch(as_pattern(shown), alike(got)):
            pytest.fail(f"$ {command}\n{got}--- is not what is shown:\n{shown}", pytrace=False)


def test_there_are_examples_at_all() -> None:
    run = [command for block in blocks("console run") for command, _ in block.steps()]
    assert len([each for each in run if "madrun " in each]) > 20
    every = {found[1] for page in PAGES for found in _FENCE.finditer(page.read_text("utf-8"))}
    assert every <= {"console run", "console", "hostfile", "python", "slurm", "yaml", ""}
