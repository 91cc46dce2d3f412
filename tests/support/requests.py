"""A request without a command line."""

from __future__ import annotations

from typing import Any

from madrun.options.request import Request, changed


def request_of(*argv: str, **options: Any) -> Request:
    """The request for a program, with these options by their keys."""
    request = changed(Request(), options)
    return request._replace(program=request.program._replace(argv=argv))
