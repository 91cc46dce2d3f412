"""How many slots hosts have of which nobody said it: their agents tell, before the World is made.

They answer in a job of its own, a shell that does nothing on each host, so that unreachable hosts,
signals and timeouts are what they are for every job. It costs one more login for each host; who
says the slots saves it.
"""

from __future__ import annotations

from collections.abc import Sequence

from madrun.hosts.resources import closed, workers_of
from madrun.hosts.world import Node, World
from madrun.job.spec import checked
from madrun.launchers.registry import DEFAULT
from madrun.options.spec_groups import Workers
from madrun.record.event import Event
from madrun.runner.plan import Plan
from madrun.wire.jobspec import EXEC


def question(plan: Plan) -> Plan:
    """A job on the same hosts that is over at once."""
    spec = plan.spec._replace(
        world=World(tuple(Node(node.host, node.devices[:1]) for node in plan.spec.world.nodes)),
        argv=("/bin/sh", "-c", ":"),
        mode=EXEC,
        launcher=DEFAULT,
        options={},
        client=(),
        workers=Workers(),
        log_dir="",
        output="all",
        stdin="none",
    )
    return plan._replace(spec=spec)


def answered(plan: Plan, events: Sequence[Event]) -> Plan:
    """The plan with what the agents have told; raises InputError for what they cannot do."""
    want = plan.request.selection.nproc_per_node
    told = {event.fields["host"]: event.fields for event in events if event.name == "check_in"}
    counts = {
        host: workers_of(want, told[host]["devices"], told[host]["cores"], host)
        for host in plan.open
    }
    world = closed(plan.spec.world, counts)
    return plan._replace(spec=checked(plan.spec._replace(world=world)), open=())
