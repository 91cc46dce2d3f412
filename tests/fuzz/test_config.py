"""Any config is a plan or a refusal in one line: no text of it gives a traceback."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from madrun.options.request import Request
from madrun.runner.cli import parsed
from madrun.runner.config import file as config_file
from madrun.runner.config.keys import SECTIONS, Variables
from madrun.runner.plan import make_plan
from madrun.system.errors import InputError

pytestmark = pytest.mark.slow

QUICK = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-1, 9)
    | st.integers()
    | st.floats()
    | st.text(max_size=6)
    | st.sampled_from(
        ["2", "auto", "ray", "a:2,b", "torchrun", "vllm", "true", "[1]", "'", "\ud800"]
    )
)
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=6,
)


def section(keys: Any) -> st.SearchStrategy[dict[str, Any]]:
    """Sections with known keys, mostly, and values of any kind."""
    if isinstance(keys, Variables):
        return st.dictionaries(st.sampled_from(["A", "RANK", "B C", ""]), ANYTHING, max_size=2)
    known = {
        name: ANYTHING if callable(kind) else section(kind) | ANYTHING
        for name, kind in keys.items()
    }
    return st.fixed_dictionaries({}, optional=known) | st.dictionaries(
        st.text(max_size=5) | st.sampled_from([*keys]), ANYTHING, max_size=2
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("config")


def outcome(words: list[str], folder: Path) -> Request | str:
    """What madrun makes of it: a request that was planned, or the words of a refusal."""
    try:
        request = parsed([*words, "--dry-run", "x"])
        if not request.submit.scheduler:
            make_plan(request, {"HOME": str(folder)}, str(folder), "py")
    except click.ClickException as error:
        return error.format_message()
    except InputError as error:
        refusal = str(error)
    else:
        assert isinstance(request, Request)
        return request
    assert "\n" not in refusal
    return refusal


@QUICK
@given(section(SECTIONS), st.booleans())
@example({"env_vars": {"A": 10**5000}}, False)
@example({"multi_node_args": {"HOST_LIST": "a[1-99999]", "NODE_RANK": 0}}, False)
@example({"slurm": {"nodelist": [None]}}, False)
def test_any_sections(folder: Path, content: dict[str, Any], inline: bool) -> None:
    if inline:
        outcome(["--additional-context", repr(content)], folder)
        return
    path = folder / "job.json"
    try:
        path.write_text(json.dumps(content), encoding="utf-8")
    except ValueError:  # a number too long for Python to write
        return
    outcome(["--config", str(path)], folder)


@QUICK
@given(
    st.sampled_from([".json", ".toml", ".yaml"]),
    st.binary(max_size=40)
    | st.text("{}[]:,'\"&*!|>-#=\n a1~?%@`\\", max_size=30).map(lambda text: text.encode()),
)
@example(".yaml", b"a: &a [*a]\nb: *b")
@example(".yaml", b"[" * 5000)
@example(".yaml", b"%YAML 9.9\n---\n{}")
@example(".yaml", b"--- {}\n--- {}")
@example(".json", b"9" * 5000)
@example(".toml", b"a = " + b"9" * 5000)
@example(".toml", b"a = " + b"[" * 5000)
def test_any_bytes(folder: Path, form: str, content: bytes) -> None:
    path = folder / f"job{form}"
    path.write_bytes(content)
    outcome(["--config", str(path)], folder)


@QUICK
@given(st.text("{}[]():,'\"-+*/=\\\n ab1.NoneTrue\0\ud800#%", max_size=40) | st.text(max_size=20))
@example("-" * 20_000 + "1")
@example("{'a':" * 5000)
@example("{'a': '''\n'''}")
@example("9" * 5000)
@example("{'a': " + "9" * 5000 + "}")
def test_any_inline_text(text: str) -> None:
    try:
        config_file.inline(text)
    except InputError as error:
        refusal = str(error)
    else:
        return
    assert "\n" not in refusal
