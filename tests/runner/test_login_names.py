"""--ssh-user is a name, and never words for a command."""

from __future__ import annotations

import pytest

from support.here import refused


@pytest.mark.parametrize("name", ["x -oProxyCommand=id", "-oProxyCommand=id", "a;b", "a\nb", "$x"])
@pytest.mark.parametrize("backend", ["ssh", "pdsh", "openmpi", "mpich"])
def test_what_is_no_user_name_is_refused(name: str, backend: str) -> None:
    said = refused("--hosts", "a,b", "--backend", backend, f"--ssh-user={name}", "--dry-run")
    assert f"--ssh-user {name!r} is not a user name" in said
