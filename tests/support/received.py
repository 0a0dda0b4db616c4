"""What a client was sent, put together: messages with all their parts, and which publishes were confirmed."""

from __future__ import annotations

from typing import Any, NamedTuple

from pamqp import body, commands, frame, header

from amqpd.wire import methods
from tests.support.world import Client

__all__ = ["Received", "bodies", "confirmed", "drain", "get", "messages", "peek", "split_publish"]

C = commands


class Received(NamedTuple):
    """A message as it arrived by deliver, get or return."""

    method: Any
    properties: Any
    body: bytes

    @property
    def headers(self) -> dict[str, Any]:
        return self.properties.headers or {}

    @property
    def deaths(self) -> list[tuple[str, str, int]]:
        """(queue, reason, count) of each entry of x-death."""
        return [(entry["queue"], entry["reason"], entry["count"]) for entry in self.headers.get("x-death", [])]


def messages(frames: list[Any]) -> list[Received]:
    """The messages among what came back, in order."""
    found = []
    for at, item in enumerate(frames):
        if isinstance(item, header.ContentHeader):
            parts, size = [], 0
            while size < item.body_size:
                parts.append(frames[at + 1 + len(parts)])
                size += len(parts[-1])
            found.append(Received(frames[at - 1], item.properties, b"".join(parts)))
    return found


def bodies(frames: list[Any]) -> list[bytes]:
    return [message.body for message in messages(frames)]


def get(client: Client, queue: str, number: int = 1, no_ack: bool = False) -> Received | None:
    """One message by basic.get."""
    found = messages(client.method(number, C.Basic.Get, queue=queue, no_ack=no_ack))
    return found[0] if found else None


def drain(client: Client, queue: str, number: int = 1) -> list[Received]:
    """All that basic.get gives, without acks."""
    found = []
    while (message := get(client, queue, number, no_ack=True)) is not None:
        found.append(message)
    return found


def peek(client: Client, queue: str, number: int = 1) -> bytes:
    """The bytes of one answer to basic.get, which keep the types of the header's fields."""
    client.send(methods.encode(number, methods.build(C.Basic.Get, queue=queue, no_ack=True)))
    raw, client.received = client.received, b""
    return raw


def confirmed(frames: list[Any], published: int) -> tuple[list[int], list[int]]:
    """Which of so many publishes were acked and which nacked, none twice."""
    acked: set[int] = set()
    nacked: set[int] = set()
    for item in frames:
        if isinstance(item, (C.Basic.Ack, C.Basic.Nack)):
            single = {item.delivery_tag}
            tags = set(range(1, item.delivery_tag + 1)) - acked - nacked if item.multiple else single
            assert not (acked | nacked) & single
            (acked if isinstance(item, C.Basic.Ack) else nacked).update(tags)
    assert acked | nacked <= set(range(1, published + 1))
    return sorted(acked), sorted(nacked)


def split_publish(number: int, key: str, payload: bytes, size: int, **properties: Any) -> bytes:
    """A publish to the default exchange with its body in frames of so many bytes."""
    data = methods.encode(number, methods.build(C.Basic.Publish, exchange="", routing_key=key))
    data += frame.marshal(header.ContentHeader(0, len(payload), C.Basic.Properties(**properties)), number)
    parts = [payload[at : at + size] for at in range(0, len(payload), size)]
    return data + b"".join(frame.marshal(body.ContentBody(part), number) for part in parts)
