"""The test doubles of inference engines (payloads/serving), as jobs of tests find them."""

from __future__ import annotations

import os

from support.cluster import BIN
from support.jobs import TESTS
from testbed.kernel import SYSTEM_PATH

FOLDER = TESTS / "payloads" / "serving"
# ``vllm`` is ours; ``ray`` and the Python that has it are those of the tests.
PATH = os.pathsep.join([str(FOLDER / "bin"), str(BIN), SYSTEM_PATH])
ENV = {"PATH": PATH, "PYTHONPATH": str(FOLDER)}
EXPORTS = [word for name, value in ENV.items() for word in ("--export", f"{name}={value}")]

# A client that has a text generated, and one that waits for ever.
GENERATE = str(FOLDER / "generate.py")
