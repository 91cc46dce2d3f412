"""A Python with madrun and the example plug-ins, as somebody has it who installed both."""

from __future__ import annotations

import atexit
import shutil
import site
import subprocess
import sys
import tempfile
import venv
from functools import cache
from pathlib import Path

from support.cluster import REPOSITORY

PLUGINS = REPOSITORY / "examples" / "plugins"


@cache
def python_with(*projects: Path) -> Path:
    """The interpreter of a new environment: all that this one has, and these projects.

    It lies in the repository, which the test hosts share.
    """
    (REPOSITORY / "build").mkdir(exist_ok=True)
    base = Path(tempfile.mkdtemp(prefix="plugins-", dir=REPOSITORY / "build"))
    atexit.register(shutil.rmtree, base, ignore_errors=True)
    venv.create(base / "venv", with_pip=False, symlinks=True)
    python = base / "venv" / "bin" / "python"
    (packages,) = (base / "venv" / "lib").glob("python*/site-packages")
    ours = "; ".join(f"site.addsitedir({each!r})" for each in site.getsitepackages())
    (packages / "ours.pth").write_text(f"import site; {ours}\n", encoding="utf-8")
    for project in projects:
        # pip builds in the project's folder: it gets a copy.
        copy = base / project.name
        shutil.copytree(project, copy)
        subprocess.run(
            [
                *(sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"),
                *("install", "--no-deps", "--no-build-isolation", "--target", packages, copy),
            ],
            check=True,
        )
    return python
