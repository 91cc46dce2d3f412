"""Who is still there: leases that every word of the other side renews."""

from __future__ import annotations

# How many timeouts the connection itself may be silent while UDP heartbeats come.
CONNECTION_TIMEOUTS = 24


class Lease:
    """Runs out ``timeout`` seconds after the last word, and then for good.

    A process that was stopped and continued finds a run-out lease *before* it reads what had
    queued up meanwhile: a word that comes too late renews nothing.

    >>> lease = Lease(5.0, now=0.0)
    >>> lease.renew(4.0), lease.expired(8.9), lease.renew(9.1), lease.expired(9.2)
    (True, False, False, True)
    """

    def __init__(self, timeout: float, now: float) -> None:
        self.timeout = timeout
        self._until = now + timeout
        self._over = False

    def renew(self, now: float) -> bool:
        """The other side spoke; False where the lease had run out already."""
        if self.expired(now):
            return False
        self._until = now + self.timeout
        return True

    def shorten(self, now: float, rest: float) -> None:
        """The other side is probably gone: only ``rest`` seconds more, unless it speaks."""
        self._until = min(self._until, now + rest)

    def rest(self, now: float) -> float:
        """Seconds until it runs out, if nobody speaks."""
        return max(0.0, self._until - now)

    def expired(self, now: float) -> bool:
        """True once the lease has run out; it stays so."""
        self._over = self._over or now > self._until
        return self._over


class LivenessMonitor:
    """Whether the other side of a job is alive: words on the connection, and UDP heartbeats.

    Either keeps it alive for ``timeout`` seconds. UDP heartbeats alone keep it alive for
    CONNECTION_TIMEOUTS of those: an other side that can tell us nothing is no use for ever.

    >>> monitor = LivenessMonitor(5.0, now=0.0)
    >>> monitor.message(1.0), monitor.udp_heartbeat(5.0), monitor.expired(9.9)
    (True, True, False)
    """

    def __init__(self, timeout: float, now: float) -> None:
        self._any = Lease(timeout, now)
        self._connection = Lease(timeout * CONNECTION_TIMEOUTS, now)
        self._broken = False

    def set_timeout(self, timeout: float) -> None:
        """From the next sign of life on."""
        self._any.timeout, self._connection.timeout = timeout, timeout * CONNECTION_TIMEOUTS

    def message(self, now: float) -> bool:
        """Something came over the connection; False where it had run out already."""
        if self.expired(now):
            return False
        self._broken = False
        self._connection.renew(now)
        return self._any.renew(now)

    def udp_heartbeat(self, now: float) -> bool:
        """A UDP heartbeat came; after the end of the connection it says nothing."""
        if self._broken or self.expired(now):
            return False
        return self._any.renew(now)

    def connection_ended(self, now: float, rest: float) -> None:
        """The other side is probably gone: ``rest`` seconds more, unless it connects again."""
        self._broken = True
        self._any.shorten(now, rest)

    def rest(self, now: float) -> float:
        """Seconds until the other side is lost, if nothing comes."""
        return min(self._any.rest(now), self._connection.rest(now))

    def expired(self, now: float) -> bool:
        """True once the other side is lost; it stays so."""
        return self._any.expired(now) or self._connection.expired(now)


class ClockOffset:
    """How far another machine's monotonic clock is ahead of ours, by ping and pong.

    The estimate is the midpoint of the quickest exchange (Cristian's algorithm): its error is at
    most half that round trip.

    >>> clock = ClockOffset()
    >>> clock.sample(asked=10.0, theirs=110.2, now=10.4)
    >>> clock.sample(asked=20.0, theirs=125.0, now=30.0)
    >>> round(clock.to_ours(111.0), 6)
    11.0
    """

    def __init__(self) -> None:
        self.offset = 0.0
        self.round_trip = float("inf")

    def sample(self, asked: float, theirs: float, now: float) -> None:
        """We asked at ``asked``, they answered at ``theirs`` (their clock), we heard ``now``."""
        if 0 <= now - asked < self.round_trip:
            self.round_trip = now - asked
            self.offset = theirs - (asked + now) / 2

    @property
    def error(self) -> float:
        """By how many seconds the offset may be wrong; infinite while there is none.

        >>> clock = ClockOffset()
        >>> clock.sample(asked=10.0, theirs=110.2, now=10.5)
        >>> clock.error
        0.25
        """
        return self.round_trip / 2

    def to_ours(self, theirs: float) -> float:
        """A time of their clock as a time of ours."""
        return theirs - self.offset
