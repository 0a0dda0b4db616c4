"""Heartbeats, both ways: say something at least every half interval, notice a silent peer.

As rabbit_heartbeat does it: the sender looks every T/2 whether anything was sent and sends a heartbeat if not; the
receiver looks every T whether anything came and gives up after two looks without, so a peer is dead between 2 T and 3 T
after its last octet. T is the interval of the client's tune-ok, in seconds; 0 is off.
"""

from __future__ import annotations

__all__ = ["Heartbeat"]


class Heartbeat:
    """The state of both directions. `heard` is set by the session whenever something comes in."""

    __slots__ = ("heard", "interval", "misses", "next_check", "next_send")

    def __init__(self, now: int) -> None:
        self.interval = 0
        self.heard = False
        self.misses = 0
        self.next_send = now
        self.next_check = now

    def start(self, interval: int, now: int) -> None:
        """The interval has been negotiated."""
        self.interval = interval
        self.next_send = now + interval * 500
        self.next_check = now + interval * 1000

    def due(self, now: int) -> bool:
        """Is it time to look whether anything was sent?"""
        if not self.interval or now < self.next_send:
            return False
        self.next_send = now + self.interval * 500
        return True

    def dead(self, now: int) -> bool:
        """Has the peer been silent for too long?"""
        if not self.interval or now < self.next_check:
            return False
        self.misses = 0 if self.heard else self.misses + 1
        self.heard = False
        self.next_check = now + self.interval * 1000
        return self.misses >= 2
