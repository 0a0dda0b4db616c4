"""The two ends of a raw-socket load, each run in a process of its own.

They take no part in AMQP beyond what the figures need: the producer sends blocks of publishes that were packed
beforehand, the consumer counts the bytes that come in and divides. Every delivery of a cell has the same length (the
delivery tag has a fixed width), learned from the first; the last one is looked at again, so that a miscount is found.
The consumer returns a credit to the producer for every few thousand messages, which bounds the backlog in the broker.

A process is steered by lines on a pipe: it says `ready`, is told to go, and answers with what it saw.
"""

from __future__ import annotations

import select
import socket
import struct
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from tests.support.rawclient import RawClient, pack_publish

QUEUE = "bench"
PREFETCH, ACK_EVERY = 100, 50
BLOCK_BYTES = 128 * 1024
BACKLOG = 20_000
CREDIT = 2_000
PATIENCE = 20.0
_ACK = struct.Struct(">BHIHHQBB")


@dataclass(frozen=True)
class Cell:
    """One combination that is measured."""

    size: int
    acks: bool

    def __str__(self) -> str:
        size = f"{self.size} B" if self.size < 1024 else f"{self.size // 1024} KB"
        return f"{size} {'ack' if self.acks else 'no-ack'}"


class LoadError(Exception):
    """The load did not go as it must for the figures to mean anything."""


def produce(url: str, cell: Cell, seconds: float, control: Connection, credits: Connection) -> None:
    """Publish as fast as the broker reads and the consumer keeps up, for so long; tell how many it were."""
    message = pack_publish(1, "", QUEUE, b"x" * cell.size)
    count = max(1, min(BLOCK_BYTES // len(message), CREDIT))
    block = message * count
    with RawClient.connected(url, timeout=PATIENCE) as client:
        client.open_channel()
        control.send("ready")
        control.recv()
        sent, allowed = 0, BACKLOG
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            while sent + count > allowed:
                if not credits.poll(PATIENCE):
                    raise LoadError("the consumer is stuck")
                allowed += credits.recv()
            client.send(block)
            sent += count
        control.send(sent)
        control.recv()
        client.close()


def _drain(connection: Connection) -> Any:
    """What came over the pipe, or None."""
    return connection.recv() if connection.poll(0) else None


def consume(url: str, cell: Cell, control: Connection, credits: Connection) -> None:
    """Count deliveries until all that were published are here; tell when the first and the last came."""
    with RawClient.connected(url, timeout=PATIENCE) as client:
        client.open_channel()
        if cell.acks:
            client.qos(PREFETCH)
        client.consume(QUEUE, "c", no_ack=not cell.acks)
        control.send("ready")
        control.recv()
        control.send(_count(client.socket, cell, control, credits))
        control.recv()
        client.close()


def _count(sock: socket.socket, cell: Cell, control: Connection, credits: Connection) -> dict[str, float]:
    """The hot loop: bytes in, counts out."""
    length = 0
    received = acked = credited = total_bytes = 0
    expected: int | None = None
    tail = b""
    buffer = bytearray(512 * 1024)
    view = memoryview(buffer)
    sock.settimeout(PATIENCE)
    began = 0.0
    while expected is None or received < expected:
        if expected is None:
            waiting: list[Any] = [sock, control]
            ready, _, _ = select.select(waiting, [], [], PATIENCE)
            if control in ready:
                expected = _drain(control)
            if sock not in ready:
                if not ready:
                    raise LoadError("nothing arrives")
                continue
        size = sock.recv_into(buffer)
        if not size:
            raise LoadError("the broker closed the connection")
        began = began or time.monotonic()
        total_bytes += size
        if not length:
            tail += view[:size].tobytes()
            length = _delivery_length(tail)
            if not length:
                continue
        else:
            tail = (tail + view[max(0, size - 2 * length) : size].tobytes())[-2 * length :]
        received = total_bytes // length
        if cell.acks and received - acked >= ACK_EVERY:
            acked = received - received % ACK_EVERY
            sock.sendall(_ACK.pack(1, 1, 13, 60, 80, acked, 1, 0xCE))
        if received - credited >= CREDIT:
            credits.send(received - credited)
            credited = received
    ended = time.monotonic()
    _verify(tail, total_bytes, length, received, cell)
    return {"received": received, "began": began, "ended": ended}


def _delivery_length(data: bytes) -> int:
    """How many bytes a delivery takes: deliver, header and body frames; 0 while the first is not complete."""
    at = 0
    left = -1
    while left:
        if len(data) < at + 19:
            return 0
        kind, _, size = struct.unpack_from(">BHI", data, at)
        if kind == 2:
            left = int.from_bytes(data[at + 11 : at + 19], "big")
        elif kind == 3:
            left -= size
        elif data[at + 7 : at + 11] != b"\x00\x3c\x00\x3c":
            raise LoadError(f"not a delivery: {data[at : at + 60]!r}")
        at += size + 8
    return at if len(data) >= at else 0


def _verify(tail: bytes, total_bytes: int, length: int, received: int, cell: Cell) -> None:
    """The last delivery must be where the count says and carry the number it should."""
    if total_bytes % length:
        raise LoadError(f"{total_bytes} bytes are no multiple of a delivery of {length}")
    last = tail[-length:]
    tag = int.from_bytes(last[13:21], "big")
    if last[7:11] != b"\x00\x3c\x00\x3c" or tag != received:
        raise LoadError(f"the last delivery has tag {tag}, counted were {received}")
    if last[-1 - cell.size : -1] != b"x" * cell.size:
        raise LoadError("the last body is not what was sent")
