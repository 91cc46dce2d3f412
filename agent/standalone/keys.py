"""Which credential the agents of a job use: what is there decides, and node 0 says it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Protocol

from madrun.agent.standalone.credential import (
    Credential,
    Munge,
    SharedKey,
    make_key,
    named_key,
    shared_key,
)
from madrun.record.job_folder import make_private
from madrun.system.errors import ClusterError


class KeySource(Protocol):
    """Where the agents of a job have their credential from."""

    def on_node_zero(self) -> AbstractContextManager[Credential]:
        """The credential to ask for, while the agents meet; raises ClusterError for none."""

    def named(self, name: str) -> Credential:
        """The credential that node 0 asks for; raises ClusterError where we have none such."""


class Keys:
    """A key file where one is named, else munge, else a file in the home folder.

    ``job`` names the last one; it has to be a file name, and no other job's at the same time.
    Raises InputError for a named file that cannot be used.
    """

    def __init__(self, key_file: str, job: str) -> None:
        self._named: SharedKey | None = named_key(key_file) if key_file else None
        self._path = os.path.join(os.path.expanduser("~"), ".madrun", "keys", job)

    @contextlib.contextmanager
    def on_node_zero(self) -> Iterator[Credential]:
        """The credential to ask for, while the agents meet; raises ClusterError for none."""
        if self._named is not None:
            yield self._named
            return
        try:
            yield Munge()
            return
        except ClusterError as error:
            problem = str(error)
        try:
            make_private(os.path.dirname(self._path))
            key = make_key(self._path)
        except OSError as error:
            raise ClusterError(
                "the agents cannot prove to each other that they belong together: "
                f"{problem}; {self._path}: {error.strerror} (--key-file names a file with a key)"
            ) from None
        try:
            yield key
        finally:
            with contextlib.suppress(OSError):
                os.unlink(self._path)

    def named(self, name: str) -> Credential:
        """The credential that node 0 asks for; raises ClusterError where we have none such."""
        if self._named is not None:
            if name != self._named.name:
                raise ClusterError("it does not use the key file that is named here")
            return self._named
        if name == Munge.name:
            return Munge()
        if name == "file":
            return shared_key(self._path)
        raise ClusterError(f"it asks for a {name} (--key-file), and none is named here")
