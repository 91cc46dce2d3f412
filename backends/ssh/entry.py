"""The SSH backend, as the registry finds it."""

from __future__ import annotations

from madrun.backends.base import AgentStart, Backend, Listener, Session, Situation


def session(start: AgentStart, listener: Listener) -> Session:
    """One login for each host."""
    from madrun.backends.ssh.backend import SshBackend

    return SshBackend(start, listener)


def applies(situation: Situation) -> str:
    """To any hosts: nothing has to be installed for it here."""
    if situation.log_in_here:
        return "it logs in to this machine too, and needs no tool"
    return "there are other hosts, and it needs no tool"


BACKEND = Backend("ssh", session, applies=applies)
