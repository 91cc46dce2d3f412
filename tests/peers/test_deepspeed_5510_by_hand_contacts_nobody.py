"""DeepSpeed #5510: with --no_ssh and no master address it ran ssh all the same."""

from __future__ import annotations

import subprocess

from support.cluster import BIN
from support.here import environment


def test_by_hand_the_address_is_asked_for() -> None:
    done = subprocess.run(
        [BIN / "madagent", "--hosts", "192.0.2.1,192.0.2.2", "--node-rank", "0", "train.py"],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "--master-addr is needed" in done.stderr
