"""A small blocking AMQP 0-9-1 client over one socket, for tests that must see and send exact bytes.

It knows frames, not rules: nothing stops a test from sending what a real client library would refuse to. Every wait
has a deadline, so a broker that hangs fails the test that found it. What arrives while one thing is awaited
(deliveries, confirms) is kept in order for whoever asks next.
"""

from __future__ import annotations

import socket
import struct
import time
from collections import deque
from dataclasses import dataclass
from types import TracebackType
from typing import Any, NamedTuple, Self, TypeVar
from urllib.parse import unquote, urlsplit

from pamqp import base, commands, constants, frame, header, heartbeat

METHOD, HEADER, BODY, HEARTBEAT = 1, 2, 3, 8
PROTOCOL_HEADER = b"AMQP\x00\x00\x09\x01"
HEARTBEAT_FRAME = b"\x08\x00\x00\x00\x00\x00\x00\xce"
DELIVER = b"\x00\x3c\x00\x3c"
_HEAD = struct.Struct(">BHI")
_DELIVER_TAIL = struct.Struct(">QB")

MethodT = TypeVar("MethodT", bound=base.Frame)


class Frame(NamedTuple):
    """One frame as it came off the wire, without its end octet."""

    kind: int
    channel: int
    payload: bytes


@dataclass(slots=True)
class Content:
    """A method that carries a message (deliver, get-ok, return) with its raw content header and its body."""

    channel: int
    method: str
    consumer_tag: bytes
    delivery_tag: int
    redelivered: bool
    exchange: bytes
    routing_key: bytes
    header: bytes
    body: bytes

    def properties(self) -> commands.Basic.Properties:
        """The decoded properties."""
        _, _, decoded = frame.unmarshal(pack_frame(HEADER, self.channel, self.header))
        assert isinstance(decoded, header.ContentHeader)
        return decoded.properties


class ChannelMethod(NamedTuple):
    """A decoded method without content."""

    channel: int
    method: base.Frame


Event = Content | ChannelMethod


class ClientError(Exception):
    """What went wrong on this connection."""


class Closed(ClientError):
    """The broker closed the connection with a method."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"connection closed: {code} {text}")
        self.code, self.text = code, text


class ChannelClosed(ClientError):
    """The broker closed a channel."""

    def __init__(self, channel: int, code: int, text: str) -> None:
        super().__init__(f"channel {channel} closed: {code} {text}")
        self.channel, self.code, self.text = channel, code, text


class Disconnected(ClientError):
    """The socket ended without a closing method."""


class Timeout(ClientError):
    """Nothing that was waited for arrived in time."""


def pack_frame(kind: int, channel: int, payload: bytes) -> bytes:
    """One frame on the wire."""
    return _HEAD.pack(kind, channel, len(payload)) + payload + b"\xce"


def pack_method(channel: int, method: base.Frame) -> bytes:
    """One method frame on the wire."""
    return frame.marshal(method, channel)


def pack_publish(
    channel: int,
    exchange: str,
    routing_key: str,
    body: bytes,
    properties: commands.Basic.Properties | None = None,
    *,
    mandatory: bool = False,
    frame_max: int = 131072,
) -> bytes:
    """A basic.publish with its content header and body frames."""
    publish = commands.Basic.Publish(exchange=exchange, routing_key=routing_key, mandatory=mandatory)
    parts = [
        frame.marshal(publish, channel),
        frame.marshal(header.ContentHeader(0, len(body), properties or commands.Basic.Properties()), channel),
    ]
    step = frame_max - 8
    parts += [pack_frame(BODY, channel, body[start : start + step]) for start in range(0, len(body), step)]
    return b"".join(parts)


class RawClient:
    """One connection."""

    def __init__(
        self, url: str, *, timeout: float = 10.0, frame_max: int = 131072, channel_max: int = 0, heartbeat: int = 0
    ) -> None:
        parts = urlsplit(url)
        self.host, self.port = parts.hostname or "127.0.0.1", parts.port or 5672
        self.user, self.password = unquote(parts.username or "guest"), unquote(parts.password or "guest")
        self.vhost = unquote(parts.path[1:]) if parts.path not in ("", "/") else "/"
        self.timeout = timeout
        self.frame_max, self.channel_max, self.heartbeat = frame_max, channel_max, heartbeat
        self.server_properties: dict[str, Any] = {}
        self._buffer = bytearray()
        self._kept: deque[Event] = deque()
        self._contents: dict[int, tuple[bytes, bytes | None, int, list[bytes]]] = {}
        self._next_publish: dict[int, int] = {}
        self.socket = socket.create_connection((self.host, self.port), timeout=timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    @classmethod
    def connected(cls, url: str, **options: Any) -> Self:
        """A connection that has logged in."""
        client = cls(url, **options)
        try:
            client.connect()
        except BaseException:
            client.abort()
            raise
        return client

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.abort()

    # Bytes and frames.

    def fileno(self) -> int:
        """For select."""
        return self.socket.fileno()

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.socket.settimeout(self.timeout)
        try:
            self.socket.sendall(data)
        except TimeoutError:
            raise Timeout("the broker does not read") from None
        except OSError as error:
            raise Disconnected(str(error)) from None

    def send_method(self, method: base.Frame, channel: int = 0) -> None:
        """Send one method."""
        self.send(frame.marshal(method, channel))

    def _fill(self, deadline: float) -> None:
        """Read more bytes from the socket."""
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            raise Timeout("nothing arrived in time")
        self.socket.settimeout(remaining)
        try:
            data = self.socket.recv(262144)
        except TimeoutError:
            raise Timeout("nothing arrived in time") from None
        except OSError as error:
            raise Disconnected(str(error)) from None
        if not data:
            raise Disconnected("end of stream")
        self._buffer += data

    def has_frame(self) -> bool:
        """Whether a whole frame is buffered: select knows nothing of what has been read already."""
        buffer = self._buffer
        return bool(self._kept) or (len(buffer) >= 7 and len(buffer) >= int.from_bytes(buffer[3:7], "big") + 8)

    def take_buffered(self) -> bytes:
        """What has been read and not been looked at, for whoever reads the socket from now on."""
        rest = bytes(self._buffer)
        self._buffer.clear()
        return rest

    def read_frame(self, timeout: float | None = None) -> Frame:
        """The next frame, whatever it is."""
        return self._read_frame(time.monotonic() + (self.timeout if timeout is None else timeout))

    def _read_frame(self, deadline: float) -> Frame:
        buffer = self._buffer
        while len(buffer) < 7:
            self._fill(deadline)
        if buffer[:4] == b"AMQP":
            raise ClientError(f"the broker answered with a protocol header: {bytes(buffer[:8])!r}")
        kind, channel, size = _HEAD.unpack_from(buffer)
        while len(buffer) < size + 8:
            self._fill(deadline)
        if buffer[size + 7] != 0xCE:
            raise ClientError(f"frame of type {kind} does not end with 0xCE")
        payload = bytes(buffer[7 : size + 7])
        del buffer[: size + 8]
        return Frame(kind, channel, payload)

    # Events: methods, and methods with their contents.

    def _assemble(self, item: Frame) -> Event | None:
        """Feed one frame; an event when it is complete."""
        channel, payload = item.channel, item.payload
        if item.kind == METHOD:
            if payload[:2] == b"\x00\x3c" and payload[3] in (50, 60, 71):
                self._contents[channel] = (payload, None, 0, [])
                return None
            _, _, method = frame.unmarshal(pack_frame(METHOD, channel, payload))
            assert isinstance(method, base.Frame)
            return ChannelMethod(channel, method)
        if item.kind == HEADER:
            start, known, _, _ = self._contents[channel]
            if known is not None:
                raise ClientError("two content headers in a row")
            size = int.from_bytes(payload[4:12], "big")
            self._contents[channel] = (start, payload, size, [])
            return self._finish(channel) if size == 0 else None
        if item.kind == BODY:
            start, known, left, parts = self._contents[channel]
            if known is None or len(payload) > left:
                raise ClientError("a body frame that does not belong to a content")
            parts.append(payload)
            self._contents[channel] = (start, known, left - len(payload), parts)
            return self._finish(channel) if len(payload) == left else None
        if item.kind == HEARTBEAT:
            return None
        raise ClientError(f"unknown frame type {item.kind}")

    def _finish(self, channel: int) -> Content:
        method, head, _, parts = self._contents.pop(channel)
        assert head is not None
        body = b"".join(parts)
        if method[3] == 50:
            returned = frame.unmarshal(pack_frame(METHOD, channel, method))[2]
            assert isinstance(returned, commands.Basic.Return)
            exchange, key = (returned.exchange or "").encode(), (returned.routing_key or "").encode()
            return Content(channel, "return", b"", 0, False, exchange, key, head, body)
        at, tag = 4, b""
        if method[3] == 60:
            at = 5 + method[4]
            tag = method[5:at]
        delivery_tag, redelivered = _DELIVER_TAIL.unpack_from(method, at)
        at += 9
        middle = at + 1 + method[at]
        exchange = method[at + 1 : middle]
        key = method[middle + 1 : middle + 1 + method[middle]]
        name = "deliver" if method[3] == 60 else "get-ok"
        return Content(channel, name, tag, delivery_tag, bool(redelivered), exchange, key, head, body)

    def next_event(self, timeout: float | None = None) -> Event:
        """The next method or content, in order of arrival; closing methods raise."""
        if self._kept:
            return self._kept.popleft()
        return self._read_event(time.monotonic() + (self.timeout if timeout is None else timeout))

    def _read_event(self, deadline: float) -> Event:
        while True:
            event = self._assemble(self._read_frame(deadline))
            if event is None:
                continue
            if isinstance(event, ChannelMethod):
                if isinstance(event.method, commands.Connection.Close):
                    self.send_method(commands.Connection.CloseOk())
                    raise Closed(event.method.reply_code or 0, event.method.reply_text)
                if isinstance(event.method, commands.Channel.Close):
                    self.send_method(commands.Channel.CloseOk(), event.channel)
                    self._contents.pop(event.channel, None)
                    code, text = event.method.reply_code or 0, event.method.reply_text
                    raise ChannelClosed(event.channel, code, text)
            return event

    def expect(self, kind: type[MethodT], channel: int | None = None, timeout: float | None = None) -> MethodT:
        """The next method of this class (on this channel); everything that comes before it is kept."""
        for event in self._kept:
            if isinstance(event, ChannelMethod) and isinstance(event.method, kind) and channel in (None, event.channel):
                self._kept.remove(event)
                return event.method
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        while True:
            event = self._read_event(deadline)
            if isinstance(event, ChannelMethod) and isinstance(event.method, kind) and channel in (None, event.channel):
                return event.method
            self._kept.append(event)

    def expect_content(self, name: str = "deliver", timeout: float | None = None) -> Content:
        """The next content of this kind; everything that comes before it is kept."""
        for event in self._kept:
            if isinstance(event, Content) and event.method == name:
                self._kept.remove(event)
                return event
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        while True:
            event = self._read_event(deadline)
            if isinstance(event, Content) and event.method == name:
                return event
            self._kept.append(event)

    def expect_end(self, timeout: float | None = None) -> None:
        """Wait until the broker has closed the socket, reading past whatever comes first."""
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        try:
            while True:
                self._fill(deadline)
                self._buffer.clear()
        except Disconnected:
            return

    # Conversations.

    def connect(self) -> None:
        """Shake hands with PLAIN and open the virtual host."""
        self.send(PROTOCOL_HEADER)
        self.server_properties = dict(self.expect(commands.Connection.Start).server_properties)
        capabilities = {
            "publisher_confirms": True,
            "basic.nack": True,
            "consumer_cancel_notify": True,
            "connection.blocked": True,
            "authentication_failure_close": True,
        }
        properties: dict[str, Any] = {"product": "raw test client", "capabilities": capabilities}
        self.send_method(commands.Connection.StartOk(properties, "PLAIN", f"\0{self.user}\0{self.password}", "en_US"))
        tune = self.expect(commands.Connection.Tune)
        self.frame_max = min(self.frame_max, tune.frame_max or self.frame_max)
        self.channel_max = min(self.channel_max or tune.channel_max, tune.channel_max or self.channel_max)
        self.send_method(commands.Connection.TuneOk(self.channel_max, self.frame_max, self.heartbeat))
        self.send_method(commands.Connection.Open(self.vhost))
        self.expect(commands.Connection.OpenOk)

    def open_channel(self, channel: int = 1) -> int:
        """Open a channel and return its number."""
        self.send_method(commands.Channel.Open(), channel)
        self.expect(commands.Channel.OpenOk, channel)
        self._next_publish.pop(channel, None)
        return channel

    def declare_queue(self, name: str = "", channel: int = 1, **options: Any) -> commands.Queue.DeclareOk:
        """Declare a queue; the options are the method's fields."""
        self.send_method(commands.Queue.Declare(queue=name, **options), channel)
        return self.expect(commands.Queue.DeclareOk, channel)

    def declare_exchange(self, name: str, kind: str = "direct", channel: int = 1, **options: Any) -> None:
        """Declare an exchange."""
        self.send_method(commands.Exchange.Declare(exchange=name, exchange_type=kind, **options), channel)
        self.expect(commands.Exchange.DeclareOk, channel)

    def bind_queue(self, queue: str, exchange: str, routing_key: str = "", channel: int = 1) -> None:
        """Bind a queue to an exchange."""
        self.send_method(commands.Queue.Bind(queue=queue, exchange=exchange, routing_key=routing_key), channel)
        self.expect(commands.Queue.BindOk, channel)

    def delete_queue(self, name: str, channel: int = 1) -> int:
        """Delete a queue and return how many messages went with it."""
        self.send_method(commands.Queue.Delete(queue=name), channel)
        return self.expect(commands.Queue.DeleteOk, channel).message_count or 0

    def qos(self, prefetch: int, channel: int = 1) -> None:
        """Limit the unacknowledged deliveries of consumers that start from now on."""
        self.send_method(commands.Basic.Qos(prefetch_count=prefetch), channel)
        self.expect(commands.Basic.QosOk, channel)

    def confirm_select(self, channel: int = 1) -> None:
        """Ask for publisher confirms."""
        self.send_method(commands.Confirm.Select(), channel)
        self.expect(commands.Confirm.SelectOk, channel)
        self._next_publish[channel] = 1

    def publish(
        self,
        exchange: str,
        routing_key: str,
        body: bytes,
        properties: commands.Basic.Properties | None = None,
        channel: int = 1,
        *,
        mandatory: bool = False,
    ) -> int:
        """Publish one message; the number its confirm will carry, or 0 when the channel does not confirm."""
        data = pack_publish(
            channel, exchange, routing_key, body, properties, mandatory=mandatory, frame_max=self.frame_max
        )
        self.send(data)
        number = self._next_publish.get(channel, 0)
        if number:
            self._next_publish[channel] = number + 1
        return number

    def wait_for_confirm(self, number: int, channel: int = 1, timeout: float | None = None) -> bool:
        """Wait until this publish (and, with multiple, perhaps others) is confirmed: true for ack, false for nack.

        Confirms of earlier publishes that come first are read past.
        """
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        while True:
            event = self._read_event(deadline)
            answer = event.method if isinstance(event, ChannelMethod) and event.channel == channel else None
            if isinstance(answer, commands.Basic.Ack | commands.Basic.Nack):
                if answer.delivery_tag == number or (answer.multiple and answer.delivery_tag > number):
                    return isinstance(answer, commands.Basic.Ack)
                continue
            self._kept.append(event)

    def consume(self, queue: str, tag: str = "", channel: int = 1, *, no_ack: bool = False, **options: Any) -> str:
        """Start a consumer and return its tag."""
        self.send_method(commands.Basic.Consume(queue=queue, consumer_tag=tag, no_ack=no_ack, **options), channel)
        return self.expect(commands.Basic.ConsumeOk, channel).consumer_tag or ""

    def get(self, queue: str, channel: int = 1, *, no_ack: bool = False) -> Content | None:
        """Fetch one message."""
        self.send_method(commands.Basic.Get(queue=queue, no_ack=no_ack), channel)
        deadline = time.monotonic() + self.timeout
        while True:
            event = self._read_event(deadline)
            if isinstance(event, Content) and event.method == "get-ok" and event.channel == channel:
                return event
            if isinstance(event, ChannelMethod) and isinstance(event.method, commands.Basic.GetEmpty):
                return None
            self._kept.append(event)

    def ack(self, tag: int, channel: int = 1, *, multiple: bool = False) -> None:
        """Acknowledge a delivery."""
        self.send(b"\x01%b\x00\x00\x00\x0d\x00\x3c\x00\x50%b%c\xce" % (channel.to_bytes(2), tag.to_bytes(8), multiple))

    def nack(self, tag: int, channel: int = 1, *, multiple: bool = False, requeue: bool = True) -> None:
        """Refuse a delivery."""
        flags = multiple | requeue << 1
        self.send(b"\x01%b\x00\x00\x00\x0d\x00\x3c\x00\x78%b%c\xce" % (channel.to_bytes(2), tag.to_bytes(8), flags))

    def close(self) -> None:
        """Close politely: close, close-ok, end of stream."""
        self.send_method(commands.Connection.Close(200, "bye", 0, 0))
        self.expect(commands.Connection.CloseOk)
        self.abort()

    def abort(self) -> None:
        """Drop the socket."""
        self.socket.close()


assert constants.FRAME_END == 0xCE
assert frame.marshal(heartbeat.Heartbeat(), 0) == HEARTBEAT_FRAME
