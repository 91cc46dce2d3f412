from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from madrun.hosts.hostlist import MAX_HOSTS, expand, fold, fold_numbers, split
from madrun.system.errors import InputError


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("node01", ("node01",)),
        ("n[1-3]", ("n1", "n2", "n3")),
        ("n[3,1]", ("n3", "n1")),
        ("n[08-10,12]-ib", ("n08-ib", "n09-ib", "n10-ib", "n12-ib")),
        ("n[098-101]", ("n098", "n099", "n100", "n101")),
        ("n[98-101]", ("n98", "n99", "n100", "n101")),
        ("n[09-10]", ("n09", "n10")),
        ("n[0-1]", ("n0", "n1")),
        ("n[00-01]", ("n00", "n01")),
        ("r[1-2]n[1-2]", ("r1n1", "r1n2", "r2n1", "r2n2")),
        ("[1-2].example.org", ("1.example.org", "2.example.org")),
        ("[fd00::1]", ("[fd00::1]",)),
        ("a@[fd00::1]", ("a@[fd00::1]",)),
        ("", ("",)),
    ],
)
def test_expands(text: str, names: tuple[str, ...]) -> None:
    assert expand(text) == names


@pytest.mark.parametrize(
    "text",
    [
        *("n[4-1]", "n[1-4", "n1-4]", "n[]", "n[1-]", "n[-1]", "n[1,,2]", "n[a-b]", "n[1-2-3]"),
        *("n[[1-2]]", "n[1 - 2]", "n[1-08]", "n[1-99999999]", "n[1-300][1-300]", "n[٣]"),
        *("n[1" + "0" * 5000 + "]", "[1]" * 9, "n" * 5000, "n]1[", "n[1-65537]"),
    ],
)
def test_refuses(text: str) -> None:
    with pytest.raises(InputError) as caught:
        expand(text)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 200


def test_the_bound_itself_is_allowed() -> None:
    assert len(expand(f"n[1-{MAX_HOSTS}]")) == MAX_HOSTS


@pytest.mark.parametrize(
    ("names", "text"),
    [
        ([], ""),
        (["big"], "big"),
        (["n1"], "n1"),
        (["node01", "node02", "node03", "node04", "node07"], "node[01-04,07]"),
        (["n3", "n1", "n2", "n2"], "n[1-3]"),
        (["n9", "n10", "n11"], "n[9-11]"),
        (["n09", "n9", "n10"], "n[09,9-10]"),
        (["gpu1-ib0", "gpu2-ib0"], "gpu[1-2]-ib0"),
        (["r1n1", "r1n2", "r2n1"], "r1n[1-2],r2n1"),
        (["a1", "b", "a2"], "a[1-2],b"),
        (["10.0.0.1", "10.0.0.2"], "10.0.0.[1-2]"),
        (["fd00::9", "fd00::10"], "fd00::9,fd00::10"),
    ],
)
def test_folds(names: list[str], text: str) -> None:
    assert fold(names) == text


def test_folds_numbers() -> None:
    assert fold_numbers([6, 0, 1, 2, 2]) == "0-2,6"
    assert fold_numbers([]) == ""


@given(st.text(alphabet="n[]-,:019 @", max_size=40))
def test_expanding_anything_is_refused_or_bounded(text: str) -> None:
    with suppress(InputError):
        assert 1 <= len(expand(text)) <= MAX_HOSTS


@given(st.lists(st.from_regex(r"[a-c]{0,2}[0-9]{1,4}(-ib|\.d1)?", fullmatch=True), max_size=30))
def test_what_is_folded_expands_to_the_same(names: list[str]) -> None:
    folded = fold(names)
    again = [name for part in split(folded, ",") if folded for name in expand(part)]
    assert sorted(again) == sorted(set(names))


@given(st.lists(st.text(max_size=20)))
def test_folding_takes_any_names(names: list[str]) -> None:
    fold(names)


@given(st.text(alphabet="a[],@", max_size=30))
def test_splitting_loses_nothing(text: str) -> None:
    assert ",".join(split(text, ",")) == text
