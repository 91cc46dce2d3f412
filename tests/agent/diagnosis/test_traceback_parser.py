"""What a worker's last lines are taken for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from madrun.agent.diagnosis.traceback_parser import (
    exception,
    hint,
    lines_of,
    no_space_for,
    says_no_space,
)

HEAD = "Traceback (most recent call last):\n"
FRAME = '  File "/a/train.py", line 12, in <module>\n    main()\n'
KEY = HEAD + FRAME + "KeyError: 'a'\n"
VALUE = HEAD + FRAME + '  File "/a/model.py", line 7, in step\n    ^^^^\nValueError: loss is nan\n'
DURING = "\nDuring handling of the above exception, another exception occurred:\n\n"
BECAUSE = "\nThe above exception was the direct cause of the following exception:\n\n"
RICH = (
    "╭──── Traceback (most recent call last) ────╮\n│ /a/train.py:3 in main │\n"
    "│ ❱ 3 raise ValueError │\n╰────╯\nValueError: bad\n"
)
GROUP = (
    "  + Exception Group " + HEAD + '  |   File "/a/g.py", line 1, in <module>\n'
    "  | ExceptionGroup: two (1 sub-exception)\n  +-+---------------- 1 ----------------\n"
    "    | ValueError: inner\n    +------------------------------------\n"
)
IGNORED = "Exception ignored in: <function A.__del__>\n" + HEAD + FRAME + "TypeError: None\n"
LOGGED = "--- Logging error ---\n" + HEAD + FRAME + "OSError: closed\n"
RANKED = "".join(f"[rank3]: {line}\n" for line in VALUE.splitlines())
LOADER = (
    HEAD + FRAME + "RuntimeError: Caught IndexError in DataLoader worker process 0.\n"
    "Original " + HEAD + FRAME + "IndexError: 7\n"
)
NAN, MODEL = "ValueError: loss is nan", "/a/model.py:7"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", None),
        ("step 1\nstep 2\n", None),
        (VALUE, f"{NAN} ({MODEL})"),
        ("before\n" + VALUE + "a line of somebody else\n", f"{NAN} ({MODEL})"),
        (KEY + "went on\n" + VALUE, f"{NAN} ({MODEL})"),
        (KEY + DURING + VALUE, f"{NAN} ({MODEL}), after KeyError: 'a'"),
        (KEY + BECAUSE + VALUE, f"{NAN} ({MODEL}), after KeyError: 'a'"),
        (KEY[20:] + DURING + VALUE, f"{NAN} ({MODEL})"),
        (VALUE + IGNORED, f"{NAN} ({MODEL})"),
        (VALUE + LOGGED, f"{NAN} ({MODEL})"),
        (IGNORED, None),
        (VALUE + HEAD + FRAME, f"{NAN} ({MODEL})"),
        (HEAD + FRAME, None),
        (HEAD + "a line that is no part of it\n", None),
        (HEAD + FRAME + "KeyboardInterrupt\n", "KeyboardInterrupt (/a/train.py:12)"),
        (HEAD + FRAME + "a.b.MyError: two\nlines\n", "a.b.MyError: two (/a/train.py:12)"),
        ("\r 10%|#\r 20%|##" + VALUE, f"{NAN} ({MODEL})"),
        (VALUE.replace("\n", "\r\n"), f"{NAN} ({MODEL})"),
        (RANKED, f"{NAN} ({MODEL})"),
        (RICH, "ValueError: bad (/a/train.py:3)"),
        (GROUP, "ExceptionGroup: two (1 sub-exception) (/a/g.py:1)"),
        (LOADER, "IndexError: 7 (/a/train.py:12)"),
        (
            "terminate called after throwing an instance of 'std::bad_alloc'\n  what():  bad\n",
            "bad",
        ),
    ],
)
def test_exceptions(text: str, shown: str | None) -> None:
    found = exception(lines_of(text.encode()))
    assert (str(found) if found else None) == shown


PROGRAMS = {
    "f()": "NameError: name 'f' is not defined (train.py:1)",
    "try:\n  {}['k']\nexcept KeyError as e:\n  raise ValueError(1) from e": (
        "ValueError: 1 (train.py:4), after KeyError: 'k'"
    ),
    "def f(): f()\nf()": "RecursionError: maximum recursion depth exceeded (train.py:1)",
    "x = (": "SyntaxError: '(' was never closed (train.py:1)",
    "assert 1 > 2": "AssertionError (train.py:1)",
    "raise RuntimeError('one\\n\\nthree')": "RuntimeError: one (train.py:1)",
    "import json; json.loads('{')": "json.decoder.JSONDecodeError: Expecting property name",
}


@pytest.mark.parametrize(("program", "shown"), PROGRAMS.items(), ids=PROGRAMS.values())
def test_this_python(program: str, shown: str, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(program)
    done = subprocess.run(
        [sys.executable, "train.py"], cwd=tmp_path, capture_output=True, check=False
    )
    found = str(exception(lines_of(done.stderr))).replace(f"{tmp_path}/", "")
    assert found == shown if shown.endswith(")") else found.startswith(shown)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("step 1", ""),
        ("CUDA error: out of memory", "the GPU is out of memory"),
        ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate", "the GPU is out of"),
        ("torch.OutOfMemoryError: HIP out of memory. Tried to allocate", "the GPU is out of"),
        ("bind: Address already in use", "a port is taken"),
        ("NCCL error in: ProcessGroupNCCL.cpp:1, unhandled system error", "NCCL failed"),
        ("[E] Watchdog caught collective operation timeout: WorkNCCL(", "a collective operation"),
        ("RuntimeError: [transport/tcp/pair.cc] Connection closed by peer [::1]:7", "another rank"),
        ("DataLoader worker (pid 7) is killed by signal: Killed.", "a data loader was killed"),
        ("Fatal Python error: Segmentation fault\nStack", "Segmentation fault"),
        ("CUDA out of memory" + "\nstep" * 60, ""),
    ],
)
def test_hints(text: str, shown: str) -> None:
    found = hint(text.split("\n"))
    assert found.startswith(shown) if shown else not found


def test_a_hint_does_not_repeat_the_exception() -> None:
    lines = ["torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB"]
    assert hint(lines, lines[0]) == ""
    lines = ["RuntimeError: Connection closed by peer [::1]:7"]
    assert hint(lines, lines[0]).startswith("another rank")


@pytest.mark.parametrize(
    ("text", "full", "name"),
    [
        ("all is well", False, ""),
        ("OSError: [Errno 28] No space left on device", True, ""),
        ("OSError: [Errno 28] No space left on device: '/a/b'", True, "/a/b"),
        ("OSError: [Errno 122] Disk quota exceeded: 'model.pt'", True, "model.pt"),
        ("RuntimeError: dataloader's workers are out of shared memory", True, ""),
        ("cp: error writing 'x': No space left on device", True, ""),
    ],
)
def test_a_full_disk(text: str, full: bool, name: str) -> None:
    assert (says_no_space([text]), no_space_for([text])) == (full, name)
