"""--ssh-user is a name, and never words for a command."""

from __future__ import annotations

import subprocess

import pytest

from support.cluster import BIN


@pytest.mark.parametrize("name", ["x -oProxyCommand=id", "-oProxyCommand=id", "a;b", "a\nb", "$x"])
@pytest.mark.parametrize("backend", ["ssh", "pdsh", "openmpi", "mpich"])
def test_what_is_no_user_name_is_refused(name: str, backend: str) -> None:
    argv = [str(BIN / "madrun"), "--hosts", "a,b", "--backend", backend, f"--ssh-user={name}"]
    done = subprocess.run(
        [*argv, "--dry-run", "x"], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert f"--ssh-user {name!r} is not a user name" in done.stderr
    assert done.stderr.count("\n") == 1
