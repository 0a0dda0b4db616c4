"""What keeps a session from being read although its client has more to say.

What there is of it already: it leaves its replies unread, its channels are parked with more than they should keep, its
frames wait for their turn. And what it publishes:

    running    it may go on
    blocking   an alarm is on, and nothing has been published since
    blocked    ... and the client has begun to: what it sends waits, in the socket and behind the point where the first
               publish was seen, until the alarm clears. Its consumers are served, heartbeats are sent to it, and it is
               told if it understands connection.blocked
    flow       what it has published waits for its commit with as much as the journal takes at once; it is read again
               as soon as the next batch can grow. RabbitMQ's word, and like there it is shown for a few seconds more

Neither an alarm nor flow costs a session anything while it is off: an alarm swaps the function that takes what was read
for one that first looks for a publish, and the journal asks for a rest when it is given messages.

A session that is on its way out is read again, whatever is on: the answer to connection.close has to be found.
Source: RabbitMQ's rabbit_reader (throttle, control_throttle, i(state)).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from amqpd.core.ports import Commit
from amqpd.protocol.states import ChannelState, State
from amqpd.wire import express, framing, methods
from amqpd.wire.methods import commands

if TYPE_CHECKING:
    from amqpd.protocol.session import Session

__all__ = ["Throttle"]

READ_MAX = 1 << 16
"""Octets that may wait for the session's turn before the socket is not read."""

PARKED_MAX = 1 << 20
"""Octets of frames kept for parked channels before the socket is not read."""

FLOW_SHOWN = 5_000
"""Milliseconds for which a session is shown in flow after it was."""


class Throttle:
    """The brakes of one session."""

    __slots__ = ("alarmed", "blocked", "flowed_at", "parked_octets", "reading", "resting", "session", "waiting")

    def __init__(self, session: Session) -> None:
        self.session = session
        self.reading = True
        self.parked_octets = 0
        self.alarmed = False
        self.blocked = False
        self.resting = False
        self.flowed_at: int | None = None
        self.waiting: list[bytes] = []
        """What was read of a blocked client, from its first publish on."""

    def control(self) -> None:
        """Have the socket read, or not."""
        session = self.session
        wanted = (
            self.parked_octets <= PARKED_MAX
            and not self.stopped
            and not (session.deferred and session.have > READ_MAX)
            and not session.outbox.overflowing
        )
        if wanted is not self.reading:
            self.reading = wanted
            if wanted:
                session.transport.resume_reading()
            else:
                session.transport.pause_reading()

    def parked(self, by: int) -> None:
        """Parked channels keep so much more, or less."""
        self.parked_octets += by
        self.control()

    @property
    def stopped(self) -> bool:
        """Does it publish more than it should?"""
        return self.blocked or self.resting

    @property
    def state(self) -> str:
        """The state of the connection as it is shown."""
        session = self.session
        if session.state is not State.RUNNING:
            return str(session.state.value)
        if self.alarmed:
            return "blocked" if self.blocked else "blocking"
        recent = self.flowed_at is not None and session.now - self.flowed_at < FLOW_SHOWN
        return "flow" if recent else "running"

    # -------------------------------------------------------------------------------------------- alarms

    def alarms_changed(self) -> None:
        """The first alarm is on, or the last one is off; or the session has just opened."""
        on = self.session.broker.alarms.on
        if on and not self.alarmed:
            self.alarmed = True
            self.session.take = self.watch
        elif self.alarmed and not on:
            told = self.blocked
            self.unblock()
            if told and self.session.capable("connection.blocked"):
                self.session.send_method(0, methods.build(commands.Connection.Unblocked))

    def watch(self, data: bytes, position: int) -> None:
        """In place of `read_frames` while an alarm is on: take what comes before the first publish."""
        session = self.session
        at = self.first_publish(data, position)
        if at < 0:
            session.read_frames(data, position)
            return
        if at > position:
            session.read_frames(data[:at], position)
        if session.deferred:
            session.parts.append(data[at:])
            session.have += len(data) - at
        elif self.alarmed:
            self.block(data[at:])
        elif not session.deaf:
            # What came before has closed the connection.
            session.read_frames(data, at)

    def first_publish(self, data: bytes, position: int) -> int:
        """Where the first complete frame lies that belongs to a publish; -1: there is none."""
        channels = self.session.channels
        while len(data) - position >= framing.OVERHEAD:
            kind, number, size = framing.unpack_head(data, position)
            end = position + size + framing.OVERHEAD
            if end > len(data):
                break
            operation = data[position + 7 : position + 11]
            if kind in (framing.HEADER, framing.BODY) or (kind == framing.METHOD and operation == express.PUBLISH):
                channel = channels.get(number)
                # A channel that is closing drops it, and is to find the answer that lies behind.
                if channel is None or channel.state is ChannelState.OPEN:
                    return position
            position = end
        return -1

    def block(self, rest: bytes) -> None:
        session = self.session
        self.blocked = True
        self.waiting.append(rest)
        session.take = self.hold
        self.control()
        if session.capable("connection.blocked"):
            reason = session.broker.alarms.reason
            session.send_method(0, methods.build(commands.Connection.Blocked, reason=reason))

    def hold(self, data: bytes, position: int) -> None:
        """In place of `read_frames` while blocked: what was under way when the socket was no longer read."""
        self.waiting.append(data[position:])

    def unblock(self) -> None:
        """Read on, beginning with what has waited."""
        session = self.session
        self.alarmed = self.blocked = False
        session.take = session.read_frames
        if self.waiting:
            waiting = b"".join(self.waiting)
            self.waiting.clear()
            session.defer(waiting)
        self.control()

    # ---------------------------------------------------------------------------------------------- flow

    def rest(self, commit: Commit) -> None:
        """The commit that the session's messages belong to has grown enough: read on when another one grows."""
        if not self.resting:
            self.resting = True
            self.flowed_at = self.session.now
            self.control()
            commit.when_room(self.go_on)

    def go_on(self) -> None:
        if self.resting:
            self.resting = False
            self.control()

    # ------------------------------------------------------------------------------------------- the end

    def release(self) -> None:
        """The session is leaving: nothing holds it back any more."""
        self.resting = False
        self.unblock()
