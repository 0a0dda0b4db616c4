"""A session: one client's conversation, sans-IO. Bytes come in by `receive`, gather in the outbox; time is an argument.

    receive(data, now)   complete frames -> lane, channel or connection; replies and deliveries gather in the outbox
    tick(now)            heartbeats and timeouts, about once a second
    lost(reason)         the socket is gone

Everything a client can do wrong ends in `failed`: it closes the channel or the connection with the reply code that the
error carries. Limits that protect the others: `receive` spends a work allowance and reads on in the next turn;
consumers get nothing while the outbox is full; a client that does not read its replies is not read.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from amqpd.core import operations
from amqpd.core.broker import Broker
from amqpd.core.operations import Actor
from amqpd.core.plan import Plans
from amqpd.core.ports import Authenticator
from amqpd.core.vhost import VHost
from amqpd.errors import AmqpError, ChannelErrorHard, ConnectionForced, InternalError, NotAllowed
from amqpd.protocol import complaints, describe, handshake, publishing
from amqpd.protocol.channel import Channel, Content
from amqpd.protocol.heartbeat import Heartbeat
from amqpd.protocol.methods import CHANNEL_METHODS, CONNECTION_METHODS
from amqpd.protocol.outbox import Outbox, Transport
from amqpd.protocol.peer import Peer
from amqpd.protocol.settings import SessionSettings
from amqpd.protocol.states import ChannelState, State, check_connection
from amqpd.protocol.throttle import Throttle
from amqpd.wire import express, framing, methods
from amqpd.wire.methods import commands
from amqpd.wire.tables import Table

__all__ = ["Session"]

log = logging.getLogger("amqpd.connection")

ALLOWANCE = 2000
"""Work units that one `receive` may spend before the others have their turn: one per frame or enqueue."""

GENERAL_COST = 2
"""Work units of a frame on the general road."""

CLOSE_TIMEOUT = 30_000
"""Milliseconds to wait for connection.close-ok."""

DOOM_DELAY = 3_000
"""Milliseconds that a refused login is kept waiting before its socket is closed."""


class Session:
    """One client connection."""

    def __init__(
        self,
        broker: Broker,
        authenticator: Authenticator,
        settings: SessionSettings,
        transport: Transport,
        peer: Peer,
        now: int,
        wall: Callable[[], int],
    ) -> None:
        # Fixed
        self.broker = broker
        self.authenticator = authenticator
        self.settings = settings
        self.transport = transport
        self.peer = peer
        self.name = str(peer)
        self.connected_at = wall()
        # Negotiated
        self.frame_max = settings.initial_frame_max
        self.lane_max = 0
        self.channel_max = settings.channel_max
        self.heartbeat = Heartbeat(now)
        self.mechanism = ""
        self.client_properties: Table = {}
        self.capabilities: frozenset[str] = frozenset()
        self.user = ""
        self.tags: frozenset[str] = frozenset()
        self.vhost: VHost | None = None
        self.plans: Plans
        self.actor: Actor
        # State
        self.state = State.HEADER
        self.running = False
        self.deadline: int | None = now + settings.handshake_timeout
        self.channels: dict[int, Channel] = {}
        self.now = now
        # Reading
        self.parts: list[bytes] = []
        self.have = 0
        self.need = 8
        self.deferred = False
        self.deaf = False
        self.take: Callable[[bytes, int], None] = self.read_frames
        self.throttle = Throttle(self)
        # Writing
        self.outbox = Outbox(transport, broker.turn, self.flushed, self.feed_consumers)
        # Counted
        self.octets_in = 0
        log.info("accepting AMQP connection %s", self.name)

    # ----------------------------------------------------------------------------------------------- in

    def receive(self, data: bytes, now: int) -> None:
        """Bytes from the client."""
        self.now = self.broker.turn.now = now
        self.octets_in += len(data)
        self.heartbeat.heard = True
        if self.deaf:
            return
        if self.have or self.deferred:
            self.parts.append(data)
            self.have += len(data)
            if self.deferred or self.have < self.need:
                self.throttle.control()
                return
            data = self.take_parts()
        self.read(data)

    def resume(self) -> None:
        """The next turn after the allowance was spent: read on."""
        self.deferred = False
        data = self.take_parts()
        if not self.deaf:
            self.read(data)
        self.throttle.control()

    def take_parts(self) -> bytes:
        data = b"".join(self.parts)
        self.parts.clear()
        self.have = 0
        return data

    def read(self, data: bytes) -> None:
        """Take the frames that are complete; keep the rest."""
        try:
            position = 0
            if self.state is State.HEADER:
                if len(data) < 8:
                    self.keep(data, 8)
                    return
                position = 8
                handshake.protocol_header(self, data[:8])
            if not self.deaf:
                self.take(data, position)
        except AmqpError as error:
            # Not the answer to a method: the framing is broken, nothing that follows can be trusted.
            self.failed(error, None, None)
            self.turn_deaf()
        except Exception:
            log.exception("connection %s is closed because of an internal error; please report it", self.name)
            self.failed(InternalError("internal error"), None, None)

    def keep(self, data: bytes, need: int) -> None:
        """Put aside what is not complete: nothing is looked at before `need` octets are there."""
        if data:
            self.parts.append(data)
            self.have = len(data)
        self.need = need

    def turn_deaf(self) -> None:
        """Take no more input; the socket is closed after a while, so that what was sent can still be read."""
        self.deaf = True
        self.parts.clear()
        self.have = 0
        if self.state is not State.CLOSED:
            self.deadline = self.now + DOOM_DELAY

    def read_frames(self, data: bytes, position: int) -> None:
        """The loop over frames: the lane first, then the general road."""
        length = len(data)
        allowance = ALLOWANCE
        channels, unpack_head = self.channels, framing.unpack_head
        while not self.deaf:
            if length - position < 7:
                self.keep(data[position:], 8)
                return
            kind, number, size = unpack_head(data, position)
            if size > self.frame_max > 0:
                raise framing.too_large(kind, size, self.frame_max - framing.OVERHEAD)
            end = position + size + 8
            if end > length:
                self.keep(data[position:], size + 8)
                return
            channel = channels.get(number)
            if channel is not None and channel.lane and kind == framing.METHOD:
                taken = self.try_lane(channel, data, position, end)
                if taken:
                    position = taken
                    allowance -= channel.cost
                    if allowance < 0:
                        self.defer(data[position:])
                        return
                    continue
            if data[end - 1] != framing.FRAME_END:
                raise framing.bad_end(kind, data[position + 7 : end - 1], data[end - 1])
            self.frame(kind, number, data[position + 7 : end - 1])
            position = end
            allowance -= GENERAL_COST
            if allowance < 0:
                self.defer(data[position:])
                return

    def try_lane(self, channel: Channel, data: bytes, start: int, end: int) -> int:
        """The express lane: where the next frame starts if it took this one, its content and what else is like it
        behind them; 0 if it declined."""
        operation = data[start + 7 : start + 11]
        if operation == express.PUBLISH:
            return publishing.express(channel, data, start, end)
        if operation == express.ACK and end - start == express.ACK_FRAME:
            return channel.express_settle(data, start)
        return 0

    def defer(self, rest: bytes) -> None:
        """The allowance is spent: the others have their turn, then this session reads on."""
        self.parts.insert(0, rest)
        self.have += len(rest)
        self.deferred = True
        self.broker.turn.read_on(self)
        self.throttle.control()

    def frame(self, kind: int, number: int, payload: bytes) -> None:
        """One complete frame."""
        if kind not in (framing.METHOD, framing.HEADER, framing.BODY):
            if kind == framing.HEARTBEAT and not payload:
                if number:
                    raise framing.unexpected(kind, payload)
                return
            raise framing.unknown_kind(kind, payload)
        if number == 0:
            if kind != framing.METHOD:
                raise framing.unexpected(kind, payload)
            self.connection_method(payload)
        elif self.running:
            channel = self.channels.get(number)
            if channel is not None:
                self.channel_frame(channel, kind, payload)
            else:
                self.open_channel(number, kind, payload)
        elif self.state not in (State.CLOSING, State.CLOSED, State.DOOMED):
            raise framing.unexpected(kind, payload)

    def connection_method(self, payload: bytes) -> None:
        method: Any = None
        try:
            if self.state in (State.CLOSED, State.DOOMED):
                return
            if self.state is State.CLOSING and payload[:4] not in (CLOSE, CLOSE_OK):
                return
            method = methods.decode(payload)
            check_connection(self.state, method)
            CONNECTION_METHODS[type(method)](self, method)
        except AmqpError as error:
            self.failed(error, None, method)

    def open_channel(self, number: int, kind: int, payload: bytes) -> None:
        try:
            if kind != framing.METHOD or payload[:4] != CHANNEL_OPEN:
                raise ChannelErrorHard("expected 'channel.open'", methods.ids_of(payload) if kind == 1 else (0, 0))
            if self.channel_max and len(self.channels) >= self.channel_max:
                raise NotAllowed(
                    f"number of channels opened ({len(self.channels)}) has reached the negotiated channel_max "
                    f"({self.channel_max})",
                    (20, 10),
                )
            operations.check_channel_limit(self.broker, self.user)
        except AmqpError as error:
            self.failed(error, None, None)
            return
        self.channels[number] = Channel(self, number)
        self.send_method(number, methods.build(commands.Channel.OpenOk))

    def channel_frame(self, channel: Channel, kind: int, payload: bytes) -> None:
        """A frame of an open or closing channel, now or when the channel is no longer parked."""
        try:
            channel.frame(kind, payload)
        except AmqpError as error:
            self.failed(error, channel, None)

    def handle(self, channel: Channel, method: Any) -> None:
        """A method of an open channel."""
        try:
            CHANNEL_METHODS[type(method)](channel, method)
        except AmqpError as error:
            self.failed(error, channel, method)

    def handle_content(self, channel: Channel, content: Content) -> None:
        """A publish that is complete."""
        try:
            publishing.publish(channel, content)
        except AmqpError as error:
            self.failed(error, channel, content.method)

    # ---------------------------------------------------------------------------------------------- out

    def send_method(self, number: int, method: Any) -> None:
        """A method for the outbox."""
        self.outbox.send(methods.encode(number, method))

    def flushed(self) -> None:
        """What had gathered has been written."""
        if self.state is State.CLOSED:
            self.transport.close()
        elif self.outbox.write_paused:
            self.throttle.control()

    def feed_consumers(self) -> None:
        """Consumers that found the outbox full can be served again."""
        for channel in self.channels.values():
            channel.unpark_consumers()

    def pause_writing(self) -> None:
        """The client does not keep up with what is sent."""
        self.outbox.write_paused = True

    def resume_writing(self) -> None:
        """The client has caught up."""
        self.outbox.write_paused = False
        self.throttle.control()
        self.outbox.feed()

    # --------------------------------------------------------------------------------------------- time

    def tick(self, now: int) -> None:
        """About once a second: timeouts and heartbeats."""
        self.now = now
        if self.deadline is not None and now >= self.deadline:
            if self.state in (State.CLOSING, State.DOOMED) or self.deaf:
                self.transport.abort()
            else:
                self.lost(f"handshake_timeout: the client did not get beyond '{self.state.value}' in time")
                self.transport.abort()
            return
        if self.running:
            # Who is not read is not heard; that does not make it dead.
            self.heartbeat.heard |= self.throttle.stopped
            if self.heartbeat.dead(now):
                self.lost(f"missed heartbeats from client, timeout: {self.heartbeat.interval}s")
                self.transport.abort()
            elif self.heartbeat.due(now):
                if not self.outbox.fresh:
                    self.outbox.send(framing.HEARTBEAT_FRAME)
                self.outbox.fresh = False

    # -------------------------------------------------------------------------------------------- errors

    def failed(self, error: AmqpError, channel: Channel | None, method: Any) -> None:
        """What a client did wrong, or met, closes its channel or its connection."""
        ids = error.method or (methods.ids(method) if method is not None else (0, 0))
        if not self.running:
            handshake.failed(self, error, ids)
        elif channel is None or error.hard:
            complaints.connection_error(self, channel.number if channel is not None else 0, error, ids)
            self.close(error.code, error.reply_text, ids)
        else:
            complaints.channel_error(channel, error, ids)
            channel.state = ChannelState.CLOSING
            channel.close()
            self.send_method(channel.number, closing(commands.Channel.Close, error.code, error.reply_text, ids))

    def channel_gone(self, channel: Channel) -> None:
        """The channel's number is free again."""
        self.channels.pop(channel.number, None)

    # --------------------------------------------------------------------------------------------- ending

    def close(self, code: int, text: str, ids: tuple[int, int] = (0, 0)) -> None:
        """Say connection.close; nothing but its answer counts from now on."""
        if self.state in (State.CLOSING, State.CLOSED):
            return
        self.leave()
        self.state = State.CLOSING
        self.deadline = self.now + CLOSE_TIMEOUT
        self.send_method(0, closing(commands.Connection.Close, code, text, ids))

    def force_close(self, reason: str) -> None:
        """An operator closes the connection: 320."""
        error = ConnectionForced(reason)
        if self.running:
            log.error("closing AMQP connection %s: %s", self.identity, error.reply_text)
            self.close(error.code, error.reply_text)
        elif self.state is not State.CLOSING:
            self.finish()

    def finish(self) -> None:
        """The conversation is over: close the socket once all is out."""
        self.leave()
        self.state = State.CLOSED
        self.deaf = True
        self.deadline = None
        if not self.outbox.touched:
            self.outbox.touch()

    def lost(self, reason: str | None) -> None:
        """The socket is gone, or is given up for `reason`. None: the client closed it."""
        said = reason or "client unexpectedly closed TCP connection"
        if self.state in (State.CLOSED, State.CLOSING, State.DOOMED) or self.deaf:
            self.leave()
        elif self.running:
            log.warning("closing AMQP connection %s:\n%s", self.identity, said)
            self.leave()
        elif self.state is State.HEADER and reason is None:
            log.debug("closing AMQP connection %s: the client closed it before it said anything", self.name)
        else:
            log.error("closing AMQP connection %s (state: %s):\n%s", self.name, self.state.value, said)
        self.state = State.CLOSED
        self.deaf = True
        self.deadline = None

    def leave(self) -> None:
        """Leave the broker: channels end, what they hold goes back, exclusive queues go."""
        if not self.running:
            return
        assert self.vhost is not None
        self.running = False
        for channel in list(self.channels.values()):
            channel.close()
        self.channels.clear()
        self.throttle.release()
        operations.close_connection(self.broker, self.vhost, self)
        self.broker.connections.pop(self, None)
        self.broker.emit("connection.closed", describe.closed(self))

    # ----------------------------------------------------------------------------------------- for others

    def alarms_changed(self) -> None:
        """The first alarm of the node is on, or the last one is off."""
        self.throttle.alarms_changed()

    def tracing_changed(self) -> None:
        """The firehose has been turned on or off."""
        for channel in self.channels.values():
            channel.trace()

    def capable(self, capability: str) -> bool:
        """Did the client say that it understands this?"""
        return capability in self.capabilities

    @property
    def vhost_name(self) -> str:
        return self.vhost.name if self.vhost is not None else ""

    @property
    def identity(self) -> str:
        """How log lines name the connection."""
        label = self.connection_label
        suffix = f" - {label}" if label else ""
        return f"({self.name}{suffix}, vhost: '{self.vhost_name}', user: '{self.user}')"

    @property
    def connection_label(self) -> str:
        """The name the client gave the connection, if any."""
        field = self.client_properties.get("connection_name")
        return field.value if field is not None and isinstance(field.value, str) else ""

    def info(self) -> dict[str, object]:
        """The connection as the management API shows it."""
        return describe.connection(self)

    def channels_info(self) -> list[dict[str, object]]:
        """Its channels as the management API shows them."""
        return [describe.channel(channel) for channel in self.channels.values()]


def closing(kind: type[Any], code: int, text: str, ids: tuple[int, int]) -> Any:
    """channel.close or connection.close, because of the method with these ids."""
    return methods.build(kind, reply_code=code, reply_text=text, class_id=ids[0], method_id=ids[1])


CLOSE = b"\x00\x0a\x00\x32"
CLOSE_OK = b"\x00\x0a\x00\x33"
CHANNEL_OPEN = b"\x00\x14\x00\x0a"
