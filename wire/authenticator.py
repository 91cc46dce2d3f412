"""Only agents whose key the backend brought back may speak.

ZeroMQ asks a ZAP handler (RFC 27) on an inproc socket about each CURVE client. An agent may
connect a moment before the backend has carried its key line to us, so a question about an
unknown key is kept until the key arrives; ZeroMQ's handshake timeout ends the others.
"""

from __future__ import annotations

from collections import deque

import zmq

DOMAIN = b"madrun"
_PENDING_LIMIT = 10_000  # keys; strangers cannot grow the memory without bound
_PER_KEY = 4  # an agent has two connections, and may have tried each of them again


class Authenticator:
    """Answers ZAP questions of one context; lives on the channel's thread."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]]) -> None:
        self.socket = context.socket(zmq.ROUTER)
        self.socket.bind("inproc://zeromq.zap.01")
        self._admitted: dict[bytes, int] = {}
        self._pending: dict[bytes, deque[list[bytes]]] = {}

    def admit(self, node_rank: int, key: bytes) -> None:
        """The agent with this public key (32 bytes) is the one of ``node_rank``."""
        self._admitted[key] = node_rank
        for question in self._pending.pop(key, ()):
            self._answer(question, node_rank)

    def ask(self) -> None:
        """Take one question from the socket."""
        question = self.socket.recv_multipart()
        # routing id, empty, version, request id, domain, address, identity, mechanism, key
        if len(question) != 9 or question[4] != DOMAIN or question[7] != b"CURVE":
            return
        key = question[8]
        if key in self._admitted:
            self._answer(question, self._admitted[key])
        else:
            self._keep(key, question)

    def _keep(self, key: bytes, question: list[bytes]) -> None:
        """For one key the latest questions, one per socket; the oldest keys make room."""
        questions = self._pending.setdefault(key, deque(maxlen=_PER_KEY))
        questions.append(question)
        if len(self._pending) > _PENDING_LIMIT:
            del self._pending[next(iter(self._pending))]

    def _answer(self, question: list[bytes], node_rank: int) -> None:
        peer, empty, version, request_id = question[:4]
        user = str(node_rank).encode()
        self.socket.send_multipart([peer, empty, version, request_id, b"200", b"OK", user, b""])
