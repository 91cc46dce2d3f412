"""A runner that does one job after another in its own process, and looks at itself after each.

many_jobs.py TIMES HOSTS SCRIPT
The script is a shell's; its TURN is the number of the job. Prints a JSON object a job on stderr:
its exit status, the descriptors and threads that are in use after it, resident and peak KiB.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import threading

from madrun.options.request import Program, Request, changed
from madrun.record.guard_handover import GuardHandover
from madrun.runner.launch import launch
from madrun.runner.plan import make_plan
from madrun.system.loop import Loop

PATIENCE = 5.0  # seconds for threads that end


def used() -> dict[str, int]:
    """What this process has in use, once what is about to end has ended."""
    for thread in threading.enumerate():
        if thread is not threading.current_thread():
            thread.join(PATIENCE)
    gc.collect()
    with open("/proc/self/status", encoding="ascii") as file:
        status = dict(line.split(":", 1) for line in file)
    return {
        "descriptors": len(os.listdir("/proc/self/fd")),
        "threads": threading.active_count(),
        "kib": int(status["VmRSS"].split()[0]),
        "peak": int(status["VmHWM"].split()[0]),
    }


def main() -> None:
    """See the module's docstring."""
    times, hosts, script = sys.argv[1:]
    guard, _guards_end = os.pipe()
    handover = GuardHandover()
    for turn in range(int(times)):
        request = changed(
            Request(program=Program(("sh", "-c", script), no_python=True)),
            {"hosts": hosts, "export": (f"TURN={turn}",)},
        )
        loop = Loop()
        status = launch(make_plan(request, os.environ, "/", sys.executable), guard, handover, loop)
        loop.close()
        print(json.dumps({"status": status, **used()}), file=sys.stderr, flush=True)


main()
