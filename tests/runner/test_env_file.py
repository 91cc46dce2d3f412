from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from madrun.runner.env_file import load, parse
from madrun.system.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("text", "variables"),
    [
        ("", {}),
        ("\n \t\n# note\n  # more = less\n", {}),
        ("A=1\nB=2", {"A": "1", "B": "2"}),
        ("A=1\nA=2", {"A": "2"}),
        ("A=1\r\nB=2\r\n", {"A": "1", "B": "2"}),
        ("\ufeffA=1", {"A": "1"}),
        ("export A=1\n\texport\tB = 2", {"A": "1", "B": "2"}),
        ("export=1", {"export": "1"}),
        ("  A  =  x y  ", {"A": "x y"}),
        ("A=x=y=z", {"A": "x=y=z"}),
        ("A=", {"A": ""}),
        ("A=''\nB=\"\"", {"A": "", "B": ""}),
        ("A=x # note", {"A": "x"}),
        ("A= # note", {"A": ""}),
        ("A=x#y", {"A": "x#y"}),
        ("A=#x", {"A": "#x"}),
        ("A='x # y' # note", {"A": "x # y"}),
        ('A="q r"', {"A": "q r"}),
        ("A=it's", {"A": "it's"}),
        ('A={"a": "b"}', {"A": '{"a": "b"}'}),
        ("A=$HOME `id` \\n", {"A": "$HOME `id` \\n"}),
        ("A='$HOME \\'", {"A": "$HOME \\"}),
        (r'A="\"\\\$\`\n"', {"A": '"\\$`\\n'}),
        ('A="one\ntwo\n"\nB=1', {"A": "one\ntwo\n", "B": "1"}),
        ("A='one\r\ntwo'\r\nB=1", {"A": "one\ntwo", "B": "1"}),
        ("A=\udcff", {"A": "\udcff"}),
    ],
)
def test_reads(text: str, variables: dict[str, str]) -> None:
    assert parse(text, "env") == variables


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("A=1\nfoo", 2, "there is no ="),
        ("export A", 1, "there is no ="),
        ("A-B=1", 1, "'A-B' is not a variable name"),
        ("1A=1", 1, "is not a variable name"),
        ("A B=1", 1, "is not a variable name"),
        ("=1", 1, "is not a variable name"),
        ("export =1\nexport A B=1", 2, "is not a variable name"),
        ('A="x\ny\nz"\n\nB="never\nclosed\n', 5, 'the quote " is never closed'),
        ("A='x", 1, "the quote ' is never closed"),
        ('A="x\\"', 1, "never closed"),
        ('A="x" y', 1, "text after the closing"),
        ('A="x"#y', 1, "text after the closing"),
        ("A=x\0y", 1, "NUL"),
    ],
)
def test_refuses_with_file_and_line(text: str, line: int, reason: str) -> None:
    with pytest.raises(InputError) as caught:
        parse(text, "env")
    assert str(caught.value).startswith(f"env:{line}: ")
    assert reason in str(caught.value)


def test_a_damaged_line_is_not_shown() -> None:
    with pytest.raises(InputError) as caught:
        parse('TOKEN="hunter2', "env")
    assert "hunter2" not in str(caught.value)
    with pytest.raises(InputError) as caught:
        parse("hunter2", "env")
    assert "hunter2" not in str(caught.value)


def test_a_hostile_file_is_read_in_time() -> None:
    before = time.process_time()
    for text in (" " * 2**20, "A=1\n" * 2**18, "A=" + " #" * 2**19, 'A="' + "\\" * 2**20):
        with suppress(InputError):
            parse(text, "env")
    assert time.process_time() - before < 10


@given(st.text(alphabet="AB=\"'\\#$ \t\r\nexport\0", max_size=60))
def test_anything_is_variables_or_a_refusal(text: str) -> None:
    refusal = ""
    try:
        variables = parse(text, "env")
    except InputError as error:
        refusal = str(error)
    else:
        assert all(name.isidentifier() and "\0" not in value for name, value in variables.items())
    assert "\n" not in refusal


@given(st.text(st.characters(exclude_characters="\0\r", exclude_categories=["Cs"])))
def test_a_double_quoted_value_comes_back(value: str) -> None:
    quoted = value.replace("\\", "\\\\").replace('"', '\\"')
    assert parse(f'A="{quoted}"', "env") == {"A": value}


@pytest.fixture
def places(tmp_path: Path) -> tuple[Path, Path]:
    home, cwd = tmp_path / "home", tmp_path / "cwd"
    for folder, mark in ((home, "home"), (cwd, "cwd")):
        folder.mkdir()
        for name in ("deepspeed", "madrun"):
            (folder / f".{name}_env").write_text(f"LAST={mark} {name}\n{name}_{mark}=1\n")
    return home, cwd


def loaded(places: tuple[Path, Path], *explicit: str, override: str = "") -> dict[str, str]:
    return load(explicit, str(places[0]), str(places[1]), {"DS_ENV_FILE": override})


def test_all_files_are_read_and_the_later_wins(places: tuple[Path, Path]) -> None:
    assert loaded(places) == {
        "LAST": "cwd madrun",
        "deepspeed_home": "1",
        "madrun_home": "1",
        "deepspeed_cwd": "1",
        "madrun_cwd": "1",
    }
    (places[1] / ".madrun_env").unlink()
    assert loaded(places)["LAST"] == "cwd deepspeed"
    (places[1] / ".deepspeed_env").unlink()
    assert loaded(places)["LAST"] == "home madrun"


def test_explicit_files_come_last_in_their_order(places: tuple[Path, Path]) -> None:
    (places[1] / "one").write_text("LAST=one\nA=one")
    (places[1] / "two").write_text("A=two")
    found = loaded(places, "one", str(places[1] / "two"))
    assert (found["LAST"], found["A"]) == ("one", "two")


def test_another_file_name_for_deepspeeds(places: tuple[Path, Path]) -> None:
    (places[1] / "mine").write_text("MINE=1")
    found = loaded(places, override="mine")
    assert sorted(found) == ["LAST", "MINE", "madrun_cwd", "madrun_home"]


def test_an_absolute_path_is_the_only_file(places: tuple[Path, Path], tmp_path: Path) -> None:
    path = tmp_path / "only"
    path.write_text("ONLY=1")
    (places[1] / "one").write_text("A=one")
    assert loaded(places, "one", override=str(path)) == {"ONLY": "1", "A": "one"}


def test_files_that_somebody_named_must_be_there(places: tuple[Path, Path]) -> None:
    with pytest.raises(InputError, match=r"--env-file .*/typo: No such file"):
        loaded(places, "typo")
    for override in ("typo", "/typo/env"):
        with pytest.raises(InputError, match=rf"\$DS_ENV_FILE {override}: (?i:no such file)"):
            loaded(places, override=override)


def test_a_folder_is_no_environment_file(places: tuple[Path, Path]) -> None:
    (places[1] / ".madrun_env").unlink()
    (places[1] / ".madrun_env").mkdir()
    assert loaded(places)["LAST"] == "cwd deepspeed"
    with pytest.raises(InputError, match="Is a directory"):
        loaded(places, ".madrun_env")


def test_a_file_without_end_is_refused(places: tuple[Path, Path]) -> None:
    with pytest.raises(InputError, match="larger than 1 MiB"):
        loaded(places, "/dev/zero")


def test_the_line_of_an_error_is_that_of_its_file(places: tuple[Path, Path]) -> None:
    (places[0] / ".madrun_env").write_text("# note\n\nfoo\n")
    with pytest.raises(InputError, match=r"home/\.madrun_env:3: there is no ="):
        loaded(places)
