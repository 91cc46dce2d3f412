"""What ``--dry-run`` shows: who would run what, where, with which devices and environment."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from madrun.backends import registry as backends
from madrun.hosts import world_info
from madrun.hosts.devices import NodeFacts
from madrun.launchers.launcher import NodeContext
from madrun.launchers.plan import NodePlan
from madrun.launchers.registry import find
from madrun.options.request import Config
from madrun.runner.plan import Plan
from madrun.runner.remote import agent_start
from madrun.system.words import counted

# Known only once the job has started; the lengths are the real ones.
_RUNNER = "RUNNER"
_PORTS = (0, 0)
_KEY = "0" * 64
_SHOWN_ENV = ("RANK", "LOCAL_RANK", "CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES")


def describe(plan: Plan, as_json: bool) -> str:
    """The plan as text or as one JSON object; or what its backend makes of it."""
    show = backends.find(plan.backend).show
    if show is not None:
        return show(plan.request, plan.spec)
    content = as_object(plan)
    if as_json:
        return json.dumps(content, indent=2)
    return "\n".join([_as_text(content), *_settings(plan)])


def _settings(plan: Plan) -> list[str]:
    """Where the values of a config came from."""
    if plan.request.config == Config():
        return []
    from madrun.runner.config.origins import lines

    return ["settings:", *lines(plan.request)]


def as_object(plan: Plan) -> dict[str, Any]:
    """The plan as plain data; None stands for what is chosen at the start, or not to be shown."""
    spec = plan.spec
    address = spec.master.addr or _default_master(plan)
    facts = _facts(plan)
    plans = [
        find(spec.launcher).plan(NodeContext(spec, node_rank, address, spec.master.port, facts))
        for node_rank in _node_ranks(plan)
    ]
    return {
        "job_id": spec.job_id,
        "backend": plan.backend,
        "backend_reason": plan.backend_reason,
        "tool": _tool(plan),
        "launcher": spec.launcher,
        "world": {node.host: list(node.devices) for node in spec.world.nodes},
        "world_info": world_info.encode(spec.world),
        "world_size": spec.world.world_size,
        "master": {"addr": address, "port": spec.master.port or None},
        "nodes": [_node(plan, node_plan) for node_plan in plans],
        "notes": list(plan.notes),
        "origins": dict(plan.request.origins),
    }


def _facts(plan: Plan) -> NodeFacts:
    """This machine's devices and masks where it is the only one; others are not asked."""
    if backends.find(plan.backend).in_process is None:
        return NodeFacts(plan.request.selection.gpu_vendor)
    from madrun.hosts.devices import own_facts

    return own_facts()


def _node_ranks(plan: Plan) -> Sequence[int]:
    """All nodes; where they are started one by one, by hand, only this one."""
    own = plan.request.place.node_rank
    return range(len(plan.spec.world.nodes)) if own is None else (own,)


def _tool(plan: Plan) -> dict[str, Any] | None:
    """How the backend's tool is started: words, what is set for it, and its private files."""
    make = backends.find(plan.backend).command
    if make is None:
        return None
    command = make(agent_start(plan, _PORTS, _KEY), [_RUNNER])
    return {"argv": list(command.argv), "env": dict(command.env), "files": dict(command.files)}


def _default_master(plan: Plan) -> str:
    if len(plan.spec.world.nodes) == 1:
        return "127.0.0.1"
    return plan.hosts[0].address


def _node(plan: Plan, node_plan: NodePlan) -> dict[str, Any]:
    start, backend = agent_start(plan, _PORTS, _KEY), backends.find(plan.backend)
    # madrun is itself the agent, or a tool starts one and the same command everywhere.
    in_words = backend.in_process is not None or backend.command is not None
    return {
        "host": node_plan.host,
        "node_rank": node_plan.node_rank,
        "command": [] if in_words else start.command(node_plan.node_rank, [_RUNNER]),
        "processes": [
            {
                "role": process.role,
                "rank": process.rank,
                "local_rank": process.local_rank,
                "argv": list(process.argv),
                "env": _shown_environment(process.env, plan),
                "cwd": process.cwd,
            }
            for process in node_plan.processes
        ],
    }


def _shown_environment(env: Mapping[str, str], plan: Plan) -> dict[str, str | None]:
    """What a process gets; of what the user exports only the names, because values may be secrets.

    With ``--show-values`` all of it.
    """
    hidden = () if plan.request.console.show_values else plan.spec.env
    return {name: None if name in hidden else value for name, value in env.items()}


def _as_text(content: dict[str, Any]) -> str:
    port = content["master"]["port"] or "a free port, chosen at the start"
    lines = [
        f"job {content['job_id']}: {counted(content['world_size'], 'worker')} on "
        f"{counted(len(content['nodes']), 'host')}, backend {content['backend']}, "
        f"launcher {content['launcher']}",
        f"master: {content['master']['addr']}, {port}",
        f"world info: {content['world_info']}",
    ]
    if content["backend_reason"] not in ("", "as asked"):
        lines.insert(1, f"backend {content['backend']}: {content['backend_reason']}")
    lines += [f"note: {note}" for note in content["notes"]]
    if content["tool"]:
        lines.append(f"tool: {shlex.join(content['tool']['argv'])}")
        env = content["tool"]["env"]
        lines += [f"  with {shlex.quote(f'{name}={value}')}" for name, value in env.items()]
    for node in content["nodes"]:
        lines.append(f"node {node['node_rank']}: {node['host']}")
        if node["command"]:
            lines.append(f"  agent: {shlex.join(node['command'])}")
        for process in node["processes"]:
            shown = " ".join(
                f"{name}={process['env'][name]}" for name in _SHOWN_ENV if name in process["env"]
            )
            name = f"rank {process['rank']}"
            if process["role"] != "worker":
                name = f"process {process['rank']}, {process['role']}"
            lines.append(f"  {name}: {shown}")
            lines.append(f"    {shlex.join(process['argv'])}    (in {process['cwd']})")
    if content["nodes"] and content["nodes"][0]["processes"]:
        names = sorted(content["nodes"][0]["processes"][0]["env"])
        lines.append(f"set or exported for each worker: {' '.join(names)}")
    return "\n".join(lines)
