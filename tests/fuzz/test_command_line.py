"""Any command line is a plan or a refusal with exit status 2, in one line."""

from __future__ import annotations

import math
import socket
from pathlib import Path
from typing import Any, NoReturn

import click
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from madrun.runner.cli import parsed
from madrun.runner.dry_run import describe
from madrun.runner.plan import Plan, make_plan
from madrun.system.errors import InputError

pytestmark = pytest.mark.slow

# What a shell may hand over: anything but NUL, also bytes that are no UTF-8.
TEXT = st.text(
    st.characters(exclude_characters="\0", exclude_categories=["Cs"])
    | st.sampled_from("\udc80\udcff@:;,[]-0123456789= \n"),
    max_size=12,
)
NUMBERS = st.sampled_from(
    ["0", "1", "-1", "2", "65536", "1e3", "1.5", "inf", "-inf", "1_0", "٣", "9" * 40, "0x1"]
)
HOSTS = st.sampled_from(
    ["localhost", "a,b", "node[01-03]:2", "[fd00::1]:4,[fd00::2]", "u@a:2,b", "a:0", "n[1-", "",
     "-o", "a,a", "n[1-99999999]", "a b"]
)  # fmt: skip
FILTERS = st.sampled_from(["a", "a@b", "node[01-02]:0,1", "b:0-1", "a:9", "@", "u@a", "a;b:0"])
LISTS = st.sampled_from(["all", "first", "none", "0", "0-1", "1,0", "3-1", "0-", "0-999999999", ""])
EXPORTS = st.sampled_from(["A=1", "A", "NCCL_*", "*", "HOME", "RANK=1", "=x", "A B=1", "", "**"])
WORDS = st.sampled_from(["ssh", "local", "auto", "pdsh", "native", "node", "worker", "SSH"])

FLAGS = ["--module", "--no-python", "--local-rank-arg", "--no_local_rank", "--ssh-accept-new",
         "--export-all", "--bind-cores-to-rank", "--no-prefix", "--dry-run", "--json"]  # fmt: skip
VALUES: dict[str, st.SearchStrategy[str]] = {
    "--hosts": HOSTS,
    "-H": st.sampled_from(["hosts", "none", "/", ""]),
    "-i": FILTERS,
    "--exclude": FILTERS,
    "--num_nodes": NUMBERS,
    "--num_gpus": NUMBERS,
    "--master_addr": FILTERS,
    "--master_port": NUMBERS,
    "--backend": WORDS,
    "--backend-args": TEXT,
    "--launcher": WORDS,
    "--ssh-user": TEXT,
    "--ssh-port": NUMBERS,
    "--ssh-key": st.sampled_from(["hosts", "none", "/"]),
    "--fan-out": NUMBERS,
    "--connect-timeout": NUMBERS,
    "--launch-timeout": NUMBERS,
    "--heartbeat-timeout": NUMBERS,
    "--grace": NUMBERS,
    "--remote-python": TEXT,
    "--workdir": TEXT,
    "--export": EXPORTS,
    "--env-file": st.sampled_from(["hosts", "env", "none"]),
    "--device-binding": WORDS,
    "--bind-core-list": LISTS,
    "--output": LISTS,
    "--log-dir": TEXT,
}
OPTION = st.sampled_from([*VALUES]).flatmap(
    lambda name: (VALUES[name] | TEXT).map(lambda value: [name, value])
)
ARGUMENTS = st.lists(OPTION | st.sampled_from(FLAGS).map(lambda flag: [flag]), max_size=6)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the command is called; with a hostfile and an environment file."""
    made = tmp_path_factory.mktemp("fuzz")
    (made / "hosts").write_text("a slots=2\nb slots=3\n")
    (made / "env").write_text("FROM_FILE=1\n")
    return made


@pytest.fixture(scope="module", autouse=True)
def no_resolver() -> Any:
    """No name is ever looked up on a network here."""

    def refuse(*_args: object, **_options: object) -> NoReturn:
        raise socket.gaierror(socket.EAI_NONAME, "no resolver in this test")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", refuse)
        yield


def plan_of(argv: list[str], folder: Path) -> Plan | str | None:
    """What madrun makes of a command line: a plan, a refusal, or neither (--help)."""
    environ = {"HOME": str(folder / "home"), "NCCL_DEBUG": "INFO", "A": "x", "PATH": "/bin"}
    try:
        request = parsed(argv)
        plan = make_plan(request, environ, str(folder), "/usr/bin/python3")
        if request.dry_run:
            describe(plan, as_json=request.console.json)
    except click.exceptions.Exit:
        return None
    except click.ClickException as error:
        return error.format_message()
    except InputError as error:
        refusal = str(error)
    else:
        return plan
    assert "\n" not in refusal
    return refusal


@settings(
    max_examples=400,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(ARGUMENTS, st.lists(TEXT, min_size=1, max_size=3))
@example([["--hostfile", "\n"]], [""])
@example([["--hosts", "a,b"], ["--ssh-user", "-oProxyCommand=x"], ["--dry-run"]], ["x"])
def test_any_command_line(folder: Path, arguments: list[list[str]], program: list[str]) -> None:
    argv = [word for option in arguments for word in option] + ["--", *program]
    made = plan_of(argv, folder)
    if not isinstance(made, Plan):
        assert made is None or made, "a refusal has words"
        return
    assert made.spec.argv == tuple(program)
    assert 1 <= made.spec.world.world_size <= 2**20
    limits = (made.request.limits.launch, made.request.ssh.connect_timeout)
    assert all(map(math.isfinite, (made.spec.limits.grace, made.spec.limits.heartbeat, *limits)))


@settings(max_examples=200, deadline=None)
@given(st.lists(TEXT | st.sampled_from([*VALUES, *FLAGS]), max_size=8))
def test_any_words(folder: Path, argv: list[str]) -> None:
    plan_of([word for word in argv if word not in ("-h", "--help", "--version")], folder)


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "-1"])
@pytest.mark.parametrize(
    "option", ["--grace", "--launch-timeout", "--connect-timeout", "--heartbeat-timeout"]
)
def test_seconds_are_a_number(folder: Path, option: str, value: str) -> None:
    assert isinstance(plan_of([option, value, "x"], folder), str)
