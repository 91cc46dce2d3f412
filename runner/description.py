"""A plan as its job's record tells it."""

from __future__ import annotations

from typing import Any

from madrun.job.description import describe_job
from madrun.runner.plan import Plan


def described(plan: Plan) -> dict[str, Any]:
    """The plan as plain data."""
    return describe_job(plan.spec, plan.request, plan.backend, plan.hosts)
