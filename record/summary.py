"""A job in one object, made of its events: by the runner, or by the guard of one that was killed.

One function makes both, and it knows nothing but the events: what the record says in short is
what it says at length.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterable
from typing import Any

from madrun.record.event import OutcomeKind
from madrun.record.job_folder import SUMMARY, JobFolder
from madrun.system.exits import exit_words

VERSION = 1  # of events and summary; fields may be added to a version, not changed

EventFields = dict[str, Any]
Object = dict[str, Any]


def make_event(name: str, at: float, fields: EventFields) -> EventFields:
    """An event as it is written; ``at`` in monotonic seconds of this machine."""
    now = time.time() - time.monotonic() + at
    return {"v": VERSION, "t": round(now, 6), "mono": round(at, 6), "event": name, **fields}


def summarize(events: Iterable[EventFields], writer: str) -> Object:
    """The summary of a job; ``writer`` is who makes it, "core" or "guard"."""
    summary: Object = {
        "v": VERSION,
        "job_id": "",
        "exit_status": None,
        "kind": OutcomeKind.UNKNOWN.value,
        "cause": "",
        "first_failure": None,
        "begun": None,
        "ended": None,
        "seconds": None,
        "states": {},
        "pids": {"runner": {}, "agents": {}, "workers": {}},
        "workers": {},
        "problems": [],
        "lost": [],
        "left": {},
        "signals": [],
        "dropped_lines": 0,
        "startup": None,
        "report": "",
        "written_by": writer,
    }
    for event in events:
        take = _TAKERS.get(event["event"])
        if take is not None:
            take(summary, event)
    summary["first_failure"] = _first_failure(summary["workers"].values())
    return summary


def conclude(path: str, job_id: str, pids: dict[str, int], statuses: tuple[int, int]) -> None:
    """Close the record of a core that was killed, or broke; raises OSError and ValueError.

    ``statuses`` are the core's own, as Popen.returncode has it, and the job's.
    """
    folder = JobFolder(path)
    if folder.has(SUMMARY):
        return
    folder.make()
    with contextlib.suppress(OSError):
        folder.point_latest()
    folder.repair()
    words = f"the runner's core {exit_words(statuses[0])}; its guard ended what was left here"
    fields = {
        "job_id": job_id,
        "pids": pids,
        "exit_status": statuses[1],
        "kind": OutcomeKind.CORE.value,
        "cause": words,
        "rank": None,
        "report": f"madrun: {words}",
    }
    folder.append(json.dumps(make_event("end", time.monotonic(), fields)))
    events = [json.loads(line) for line in folder.events()]
    folder.write(SUMMARY, json.dumps(summarize(events, "guard"), indent=2) + "\n")


# ---- what each event adds


def _begin(summary: Object, event: EventFields) -> None:
    summary["job_id"], summary["begun"] = event["job_id"], event["t"]
    summary["pids"]["runner"] = event["pids"]


def _state(summary: Object, event: EventFields) -> None:
    begun = summary["begun"] or event["t"]
    summary["states"][event["state"]] = round(event["t"] - begun, 6)


def _hello(summary: Object, event: EventFields) -> None:
    summary["pids"]["agents"][event["host"]] = event["pids"]


def _started(summary: Object, event: EventFields) -> None:
    for rank, pid in event["workers"].items():
        summary["pids"]["workers"][rank] = pid
        summary["workers"][rank] = {
            "rank": int(rank), "host": event["host"], "pid": pid, "status": None,
        }  # fmt: skip


def _exited(summary: Object, event: EventFields) -> None:
    shown = {name: value for name, value in event.items() if name not in ("v", "mono", "event")}
    summary["workers"][str(event["rank"])] = shown


def _guard_gone(summary: Object, event: EventFields) -> None:
    summary["signals"].append({"t": event["t"], "name": "guard gone", "passed_on": False})


def _signal(summary: Object, event: EventFields) -> None:
    kept = ("t", "name", "passed_on")
    summary["signals"].append({name: event[name] for name in kept})


def _end(summary: Object, event: EventFields) -> None:
    summary["job_id"] = event["job_id"]
    if "pids" in event:  # of a guard, where the record had not begun
        summary["pids"]["runner"] = event["pids"]
    summary["exit_status"], summary["report"] = event["exit_status"], event["report"]
    summary["kind"] = event["kind"]
    summary["cause"] = event["cause"]
    summary["ended"] = event["t"]
    if summary["begun"] is not None:
        summary["seconds"] = round(event["t"] - summary["begun"], 6)


def _first_failure(workers: Iterable[Object]) -> Object | None:
    failed = [each for each in workers if each["status"]]
    return min(failed, key=lambda each: (each["ended"], each["t"]), default=None)


def _dropped(summary: Object, event: EventFields) -> None:
    summary["dropped_lines"] += event["lines"]


def _listed(name: str) -> Callable[[Object, EventFields], None]:
    def take(summary: Object, event: EventFields) -> None:
        kept = ("t", "host", "reason", "status")
        summary[name].append({key: event[key] for key in kept if key in event})

    return take


def _finished(summary: Object, event: EventFields) -> None:
    if event["left"]:
        summary["left"][event["host"]] = event["left"]


def _startup(summary: Object, event: EventFields) -> None:
    shown = {name: event[name] for name in ("seconds", "slowest", "hosts") if name in event}
    summary["startup"] = shown


_TAKERS: dict[str, Callable[[Object, EventFields], None]] = {
    "begin": _begin,
    "state": _state,
    "hello": _hello,
    "started": _started,
    "exited": _exited,
    "guard_gone": _guard_gone,
    "signal": _signal,
    "end": _end,
    "dropped": _dropped,
    "problem": _listed("problems"),
    "lost": _listed("lost"),
    "finished": _finished,
    "startup": _startup,
}
