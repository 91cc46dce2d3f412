"""Backends by name, and which one ``auto`` takes."""

from __future__ import annotations

import socket

import pytest

from madrun.backends.base import Allocation, Backend, Situation
from madrun.backends.registry import built_in, choose, find, is_known
from madrun.hosts.hostfile import Host
from madrun.system.errors import InputError

HERE, AWAY = Host("localhost", (0,)), Host("far.invalid", (0,))


@pytest.mark.parametrize("backend", built_in(), ids=lambda backend: backend.name)
def test_each_is_found_by_its_names_in_any_spelling(backend: Backend) -> None:
    for name in (backend.name, backend.name.upper(), *backend.aliases):
        assert find(name) is backend
        assert is_known(name)
    ways = (backend.session, backend.in_process, backend.whole)
    assert len([way for way in ways if way is not None]) == 1


@pytest.mark.parametrize("name", ["", "os", "base", "tools", "registry", "kube", "../ssh"])
def test_an_unknown_name_lists_the_known_ones(name: str) -> None:
    with pytest.raises(InputError, match="known are auto, srun, local, ssh, "):
        find(name)
    assert not is_known(name)


@pytest.mark.parametrize(
    ("situation", "name"),
    [
        (Situation((HERE,), named=False), "local"),
        (Situation((HERE,), named=True), "local"),
        (Situation((Host(socket.gethostname(), (0,)),), named=True), "local"),
        (Situation((HERE,), named=True, log_in_here=True), "ssh"),
        (Situation((HERE, AWAY), named=True), "ssh"),
        (Situation((AWAY,), named=True), "ssh"),
    ],
)
def test_auto_takes_what_applies(situation: Situation, name: str) -> None:
    choice = choose("auto", situation)
    assert choice.backend.name == name
    assert choice.reason


def test_auto_takes_the_backend_of_the_allocation_that_we_are_in() -> None:
    allocated = Allocation("Slurm job 17", "srun", (AWAY,))
    choice = choose("AUTO", Situation((AWAY,), named=True), allocated)
    assert (choice.backend.name, choice.reason) == ("srun", "inside Slurm job 17")


def test_a_backend_may_refuse() -> None:
    with pytest.raises(InputError, match=r"--backend local: far\.invalid is another machine"):
        choose("local", Situation((HERE, AWAY), named=True))
