"""Hold a conversation with a broker and say how it ended.

Whatever the client sent, the broker must answer in good AMQP and the socket must come to its end within a deadline. How
the end comes about is the outcome:

- `normal`: our connection.close was answered with close-ok;
- `conn NNN`: the broker sent connection.close; `chan NNN, ...`: before that it closed one or more channels;
- `header`: the broker answered with a protocol header; `closed`: it closed the socket without a word;
- `quiet`: it waited for more, and closed when we closed our half;
- `reset`: we reset the connection, and nothing is known;
- `HANG` and `BAD ...`: what must not be.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from dataclasses import dataclass, field

from pamqp import base, commands

from tests.abuse.kinds import Conversation, Ending
from tests.abuse.wire import BODY, CONNECTION_CLOSE_OK, FRAME_MAX, HEADER, HEARTBEAT, METHOD, method

HARD = frozenset({320, 402, 501, 502, 503, 504, 505, 530, 540, 541})
SOFT = frozenset({311, 312, 313, 403, 404, 405, 406})
INTERNAL_ERROR = 541
CONTENT = (commands.Basic.Deliver, commands.Basic.GetOk, commands.Basic.Return)
CLOSING = (
    commands.Connection.Close,
    commands.Connection.CloseOk,
    commands.Channel.Close,
    commands.Channel.CloseOk,
)
HEADER_DUE = -1
QUIET = 0.3
RESET = struct.pack("ii", 1, 0)


@dataclass
class Outcome:
    """How a conversation ended."""

    final: str = ""
    channel_codes: list[int] = field(default_factory=list)
    seconds: float = 0.0
    text: str = ""

    @property
    def label(self) -> str:
        """The outcome in one short phrase."""
        return ", ".join([*(f"chan {code}" for code in self.channel_codes), self.final])

    def acceptable(self, expected: frozenset[str] | None) -> bool:
        """Whether the broker may end this conversation so."""
        if self.final == "HANG" or self.final.startswith("BAD"):
            return False
        return expected is None or self.label in expected


class _Misbehaviour(Exception):
    """The broker sent what no broker may send."""


class Talk:
    """One conversation."""

    def __init__(self, conversation: Conversation, deadline: float) -> None:
        self.conversation = conversation
        self.deadline = deadline
        self.outcome = Outcome()
        self._buffer = bytearray()
        self._half_closed = False
        self._over = False
        self._open: dict[int, int] = {}  # Per open channel: bytes due of a content, or HEADER_DUE.
        self._refused: set[int] = set()  # Channels that the broker closed: ours may close at the same time.

    async def hold(self, host: str, port: int) -> Outcome:
        """Connect, talk, and wait for the end."""
        began = time.monotonic()
        try:
            async with asyncio.timeout(self.deadline):
                self.reader, self.writer = await asyncio.open_connection(host, port)
                try:
                    await self._talk()
                finally:
                    self.writer.transport.abort()
        except TimeoutError:
            self.outcome.final = "HANG" if not self._over else f"HANG after {self.outcome.final}"
        except _Misbehaviour as error:
            self.outcome.final, self.outcome.text = "BAD output", str(error)
        if self.outcome.final.startswith("HANG"):
            self.outcome.text, self.outcome.final = self.outcome.final, "HANG"
        self.outcome.seconds = time.monotonic() - began
        return self.outcome

    async def _talk(self) -> None:
        sock: socket.socket = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sending = asyncio.ensure_future(self._send())
        try:
            if self.conversation.ending is Ending.RESET:
                await sending
                self.outcome.final = "reset"
                try:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                except OSError:
                    self.outcome.final = "closed"
                return
            await self._read_to_the_end(sending)
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)

    async def _send(self) -> None:
        """Send the pieces; the broker may hang up on us in the middle."""
        try:
            for chunk in self.conversation.chunks:
                pieces = [chunk]
                if self.conversation.dribble:
                    pieces = [chunk[index : index + 1] for index in range(len(chunk))]
                for piece in pieces:
                    if self._half_closed:
                        return
                    self.writer.write(piece)
                    await asyncio.sleep(0)
            await self.writer.drain()
            if self.conversation.ending is Ending.EOF:
                self._close_our_half()
        except OSError:
            return

    def _close_our_half(self) -> None:
        if not self._half_closed:
            self._half_closed = True
            try:
                if not self.writer.transport.is_closing():
                    self.writer.write_eof()
            except OSError:
                return  # The broker has gone already; reading will tell.

    async def _read_to_the_end(self, sending: asyncio.Future[None]) -> None:
        """Read until the broker has closed the socket."""
        patient = self.conversation.expected is not None or self.conversation.ending is Ending.WAIT
        while True:
            try:
                async with asyncio.timeout(None if patient or self._half_closed else QUIET):
                    data = await self.reader.read(65536)
            except TimeoutError:
                if sending.done():
                    self._close_our_half()
                continue
            except OSError:
                data = b""
            if not data:
                self.outcome.final = self.outcome.final or ("quiet" if self._half_closed else "closed")
                return
            self._buffer += data
            self._digest()

    def _digest(self) -> None:
        """Look at the frames that are complete."""
        buffer = self._buffer
        while len(buffer) >= 8:
            if buffer[:4] == b"AMQP":
                if len(buffer) > 8 or self._over:
                    raise _Misbehaviour(f"more than a protocol header: {bytes(buffer[:40])!r}")
                self._finish("header")
                del buffer[:]
                return
            size = int.from_bytes(buffer[3:7], "big")
            if size > FRAME_MAX - 8 or buffer[0] not in (METHOD, HEADER, BODY, HEARTBEAT):
                raise _Misbehaviour(f"not a frame: {bytes(buffer[:40])!r}")
            if len(buffer) < size + 8:
                return
            data = bytes(buffer[: size + 8])
            del buffer[: size + 8]
            if data[-1] != 0xCE:
                raise _Misbehaviour(f"no frame end: {data[:80]!r}")
            channel = int.from_bytes(data[1:3], "big")
            if data[0] == METHOD:
                self._method(channel, data)
            elif data[0] in (HEADER, BODY):
                self._content(channel, data)

    def _method(self, channel: int, data: bytes) -> None:
        """A method frame: it must be known, on an open channel, not inside a content, not after the end."""
        kind: type[base.Frame] | None = commands.INDEX_MAPPING.get(int.from_bytes(data[7:11], "big"))
        if kind is None:
            raise _Misbehaviour(f"an unknown method: {data[:80]!r}")
        if self._over and not (kind is commands.Connection.CloseOk and self.outcome.final != "normal"):
            raise _Misbehaviour(f"{kind.name} after {self.outcome.final}")
        if kind is commands.Channel.OpenOk:
            self._open[channel] = 0
        elif channel and not (kind is commands.Channel.CloseOk and channel in self._refused):
            if channel not in self._open:
                raise _Misbehaviour(f"{kind.name} on channel {channel}, which is not open")
            if self._open[channel] and kind is not commands.Channel.Close:
                raise _Misbehaviour(f"{kind.name} inside a content on channel {channel}")
        if kind in CONTENT:
            self._open[channel] = HEADER_DUE
        elif kind in CLOSING:
            self._closing(channel, kind, data[11:-1])

    def _content(self, channel: int, data: bytes) -> None:
        """A header or body frame: it must be the one that is due."""
        due = self._open.get(channel, 0)
        if self._over:
            raise _Misbehaviour(f"a content frame after {self.outcome.final}")
        if data[0] == HEADER and due == HEADER_DUE:
            self._open[channel] = int.from_bytes(data[11:19], "big")
        elif data[0] == BODY and 0 < len(data) - 8 <= due:
            self._open[channel] = due - (len(data) - 8)
        else:
            raise _Misbehaviour(f"a content frame that is not due on channel {channel}: {data[:80]!r}")

    def _closing(self, channel: int, kind: type[base.Frame], fields: bytes) -> None:
        """React to a closing method."""
        if kind is commands.Connection.CloseOk:
            if not self._over:
                self._finish("normal")
                self._close_our_half()
            return
        if kind is commands.Channel.CloseOk:
            self._open.pop(channel, None)
            self._refused.discard(channel)
            return
        if len(fields) < 7 or len(fields) != 7 + fields[2]:
            raise _Misbehaviour(f"a malformed {kind.name}: {fields!r}")
        code, text = int.from_bytes(fields[:2], "big"), fields[3:-4].decode(errors="replace")
        if kind is commands.Connection.Close:
            known = code in HARD | SOFT and code != INTERNAL_ERROR and channel == 0
            self._finish(f"conn {code}" if known else f"BAD conn {code}")
            self._reply(CONNECTION_CLOSE_OK)
        else:
            if code not in SOFT or channel == 0:
                raise _Misbehaviour(f"channel.close on {channel} with {code} {text}")
            del self._open[channel]
            self._refused.add(channel)
            self.outcome.channel_codes.append(code)
            self._reply(method(channel, 20, 41))
        self.outcome.text = text

    def _finish(self, final: str) -> None:
        self.outcome.final = final
        self._over = True

    def _reply(self, data: bytes) -> None:
        if not self._half_closed and not self.writer.transport.is_closing():
            self.writer.write(data)
