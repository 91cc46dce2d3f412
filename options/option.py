"""How a field of a group is asked for on a command line: the data beside the field."""

from __future__ import annotations

from typing import NamedTuple

# Whose an option is.
MADRUN, MADAGENT, BOTH = "madrun", "madagent", "both"


class Option(NamedTuple):
    """The spellings of an option, its help, and what its value may be.

    The type and the default are the field's own. ``low`` and ``high`` bound a number (seconds,
    where the field is a float), ``choices`` are the only texts allowed, ``of`` says which of the
    two commands has the option.

    >>> Option("-i --include", "Only these.").key
    'include'
    """

    names: str
    help: str
    metavar: str = ""
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    of: str = MADRUN

    @property
    def key(self) -> str:
        """The first long spelling, as an identifier: what the option is called as data."""
        first = next(name for name in self.names.split() if name.startswith("--"))
        return first[2:].replace("-", "_")
