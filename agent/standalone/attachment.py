"""The runner's hold on a pod: what node 0 of a job writes goes to it, its stdin and signals come.

A thread of its own stands between the pod's console and its log: what is written to stdout and
stderr goes to the log as ever, and to the runner that is attached. The connection may break (an
API server that restarts): then it waits, and goes on with the first frame that the runner has not
got. A runner that is not heard of for the lease is gone, and the job ends as by a hang-up.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import socket
import sys
import threading
import time
from collections import deque

from madrun.agent.standalone.credential import SharedKey
from madrun.record.event import Event
from madrun.system.errors import ClusterError, WireError
from madrun.system.signals import ENDING
from madrun.wire.attachment import LONGEST_LINE, Frame, FrameKind, FrameReader

BEAT = 2.0  # seconds between two signs of life
_KEPT = 4 * 1024 * 1024  # bytes for a runner that is away; then the console waits, and counts
_PIECE = 64 * 1024
_LAST_WORDS = 3.0  # seconds for a runner that is away, in a pod that was told to end
_TOLD = {128 + int(each) for each in ENDING}  # the exit statuses of such a job
_SIGNALS = {int(each) for each in signal.Signals}


class Attachment:
    """From ``begin`` to ``end`` this process's stdin, stdout and stderr are the runner's.

    Raises ClusterError where the port is another's.
    """

    def __init__(self, port: int, key: SharedKey, job: str, lease: float) -> None:
        self._key, self._job, self._lease = key, job, lease
        self._selector = selectors.DefaultSelector()
        self._listener = _listener(port)
        self._peer: _Peer | None = None
        self._unseen: deque[Frame] = deque()  # what the runner has not yet said to have
        self._size = self._number = 0
        self._heard = time.monotonic()
        self._next_beat = 0.0
        self._left = self._gone = self._was_told = False
        self._queue: deque[Frame] = deque()  # from other threads
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._streams: dict[int, tuple[FrameKind, int]] = {}
        self._saved: list[int] = []
        self._stdin = -1
        self._input: deque[bytes] = deque()  # what the pipe has no room for
        self._signalled = 0  # the last signal's number
        self._come = self._taken = 0  # bytes of stdin that came, and that the pipe has
        self._thread = threading.Thread(target=self._run, name="attachment", daemon=True)

    def begin(self) -> None:
        """Take the standard streams, and listen."""
        self._saved = [os.dup(fd) for fd in (0, 1, 2)]
        for fd, kind in ((1, FrameKind.OUT), (2, FrameKind.ERR)):
            reading, writing = os.pipe2(os.O_CLOEXEC)
            os.dup2(writing, fd)
            os.close(writing)
            self._streams[reading] = (kind, self._saved[fd])
        reading, self._stdin = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._stdin, False)
        os.dup2(reading, 0)
        os.close(reading)
        self._thread.start()

    def event(self, event: Event) -> None:
        """Tell the runner of an event of the job; from any thread."""
        ago = time.monotonic() - event.at
        fields = json.dumps({"name": event.name, "ago": ago, "fields": event.fields})
        self._put(Frame(FrameKind.EVENT, fields.encode()))

    def end(self, status: int) -> None:
        """Give the streams back and say how the job has ended; waits until the runner knows."""
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        for fd, saved in enumerate(self._saved):
            os.dup2(saved, fd)
        self._was_told = status in _TOLD
        self._put(Frame(FrameKind.OVER, str(status).encode()))
        self._thread.join()

    # ---- on the thread

    def _put(self, frame: Frame) -> None:
        self._queue.append(frame)
        with contextlib.suppress(BlockingIOError):
            os.write(self._wake_write, b"\0")

    def _run(self) -> None:
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
        self._selector.register(self._wake_read, selectors.EVENT_READ, self._woken)
        for fd in self._streams:
            self._selector.register(fd, selectors.EVENT_READ, None)
        over_at = 0.0
        while True:
            for key, _events in self._selector.select(self._patience()):
                if key.data is None:
                    self._take(key.fd)
                else:
                    key.data()
            self._look_at_clock()
            if not over_at and self._is_over():
                over_at = time.monotonic()
            if over_at and self._may_go(over_at):
                break
        self._hang_up()
        self._listener.close()

    def _is_over(self) -> bool:
        return any(frame.kind is FrameKind.OVER for frame in self._queue) and not self._streams

    def _may_go(self, over_at: float) -> bool:
        """The runner has it all, or is not coming any more.

        It is waited for until its lease ends; where the pod was told to end, not for long.
        """
        while self._queue:
            self._send(self._queue.popleft())
        if not self._unseen or self._left or self._gone:
            return True
        return self._was_told and time.monotonic() - over_at > _LAST_WORDS

    def _patience(self) -> float:
        return max(0.0, min(self._next_beat - time.monotonic(), BEAT))

    def _look_at_clock(self) -> None:
        now = time.monotonic()
        if now >= self._next_beat:
            self._next_beat = now + BEAT
            if self._peer is not None and self._peer.proven:
                seen = str(self._signalled).encode()
                self._peer.put(Frame(FrameKind.BEAT, seen, self._taken))
        if self._peer is not None and self._peer.broken:
            self._hang_up()
        if not self._gone and not self._left and now - self._heard > self._lease:
            self._gone = True
            words = f"madagent: the runner was not heard of for {self._lease:g} s: the job ends\n"
            os.write(self._saved[2], words.encode())
            os.kill(os.getpid(), signal.SIGHUP)

    def _woken(self) -> None:
        os.read(self._wake_read, 4096)
        while self._queue and self._queue[0].kind is not FrameKind.OVER:
            self._send(self._queue.popleft())

    def _take(self, fd: int) -> None:
        """What the job's console writes: to the log, and to the runner."""
        if self._size > _KEPT and not (self._left or self._gone):
            self._selector.unregister(fd)  # until the runner has taken something
            return
        kind, log = self._streams[fd]
        data = os.read(fd, _PIECE)
        if not data:
            self._selector.unregister(fd)
            os.close(fd)
            del self._streams[fd]
            return
        with contextlib.suppress(OSError):
            _write_all(log, data)
        self._send(Frame(kind, data))

    def _send(self, frame: Frame) -> None:
        if self._left or self._gone:
            return
        self._number += 1
        frame = frame._replace(number=self._number)
        self._unseen.append(frame)
        self._size += len(frame.content)
        if self._peer is not None and self._peer.proven:
            self._peer.put(frame)

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError:
            return
        self._hang_up()  # the runner comes anew: it has lost the other one
        self._peer = _Peer(connection, self._key, self._job)
        self._selector.register(connection, selectors.EVENT_READ, self._hear)

    def _hear(self) -> None:
        peer = self._peer
        assert peer is not None
        was_proven = peer.proven
        frames = peer.hear()
        if peer.broken:
            self._hang_up()
            return
        if not was_proven and peer.proven:
            self._heard = time.monotonic()
            self._seen(peer.has)
            for frame in self._unseen:
                peer.put(frame)
        for frame in frames:
            self._heard = time.monotonic()
            self._do(frame)

    def _do(self, frame: Frame) -> None:
        match frame.kind:
            case FrameKind.HAVE:
                self._seen(frame.number)
            case FrameKind.INPUT:
                self._come_input(frame)
            case FrameKind.SIGNAL:
                self._pass_on(frame)
            case FrameKind.LEAVE:
                self._left = True
                self._unseen.clear()

    def _pass_on(self, frame: Frame) -> None:
        """A signal; one that came before, over a connection that broke, is not a second one."""
        if frame.number <= self._signalled:
            return
        self._signalled, self._next_beat = frame.number, 0.0
        if frame.content.isdigit() and int(frame.content) in _SIGNALS:
            os.kill(os.getpid(), int(frame.content))

    def _seen(self, number: int) -> None:
        while self._unseen and self._unseen[0].number <= number:
            self._size -= len(self._unseen.popleft().content)
        if self._size <= _KEPT:
            watched = self._selector.get_map()
            for fd in self._streams:
                if fd not in watched:
                    self._selector.register(fd, selectors.EVENT_READ, None)

    def _come_input(self, frame: Frame) -> None:
        """A piece of stdin; one that came before, over a connection that broke, is left out."""
        if frame.number != self._come or self._stdin < 0:
            return
        self._come += max(1, len(frame.content))  # the end counts as one
        self._input.append(frame.content)
        if len(self._input) == 1:
            self._selector.register(self._stdin, selectors.EVENT_WRITE, self._give_input)

    def _give_input(self) -> None:
        """The pipe has room."""
        data = self._input[0]
        try:
            written = os.write(self._stdin, data) if data else 0
        except BlockingIOError:
            return
        except OSError:  # nobody reads it
            written = len(data)
        self._taken += written
        if written < len(data):
            self._input[0] = data[written:]
            return
        self._input.popleft()
        if not self._input or not data:
            self._selector.unregister(self._stdin)
        if not data:
            os.close(self._stdin)
            self._stdin = -1
        self._next_beat = 0.0  # tell how much was taken

    def _hang_up(self) -> None:
        if self._peer is not None:
            with contextlib.suppress(KeyError, ValueError):
                self._selector.unregister(self._peer.connection)
            self._peer.connection.close()
            self._peer = None


class _Peer:
    """Who has connected: a stranger until it has proven that it knows the key."""

    def __init__(self, connection: socket.socket, key: SharedKey, job: str) -> None:
        connection.settimeout(BEAT)
        self.connection, self._key, self._job = connection, key, job
        self.proven = self.broken = False
        self.has = 0
        self._nonce, self._line = os.urandom(32).hex(), b""
        self._reader = FrameReader()
        self._send(f"MADRUN-ATTACH 1 {self._nonce}\n".encode())

    def put(self, frame: Frame) -> None:
        """Send a frame; a peer that does not take it in time is broken, and comes anew."""
        self._send(frame.encode())

    def hear(self) -> list[Frame]:
        """What has come."""
        try:
            data = self.connection.recv(_PIECE)
            if not data:
                raise WireError("the end")
            return self._reader.put(data) if self.proven else self._prove(data)
        except (OSError, WireError, ClusterError, ValueError, KeyError, TypeError):
            self.broken = True
            return []

    def _prove(self, data: bytes) -> list[Frame]:
        self._line += data
        line, end, rest = self._line.partition(b"\n")
        if not end:
            if len(self._line) > LONGEST_LINE:
                raise WireError("a line that is too long")
            return []
        said = json.loads(self._key.open(line))
        if said["nonce"] != self._nonce or said["job"] != self._job:
            raise WireError("another job, or an old proof")
        self.has = int(said["has"])
        proof = self._key.seal(json.dumps({"nonce": said["own"], "job": self._job}).encode())
        self._send(proof + b"\n")
        self.proven = True
        return self._reader.put(rest)

    def _send(self, data: bytes) -> None:
        try:
            self.connection.sendall(data)
        except OSError:
            self.broken = True


def _listener(port: int) -> socket.socket:
    """Who reaches it is in this pod, or comes through the API server's port-forward."""
    found = socket.socket()
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind(("127.0.0.1", port))
    except OSError as error:
        found.close()
        raise ClusterError(f"port {port} of the pod's loopback: {error.strerror}") from None
    found.listen(8)
    found.setblocking(False)
    return found


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
