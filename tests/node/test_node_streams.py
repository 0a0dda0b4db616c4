"""Streams in a real node, with a real client: several readers, restarts, SIGKILL, retention, deletion."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pika
import pytest

from tests.support.broker import BrokerProcess

STREAM = {"x-queue-type": "stream"}
PATIENCE = 30.0


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[BrokerProcess]:
    with BrokerProcess(tmp_path) as broker:
        yield broker


@pytest.fixture
def channel_to() -> Iterator[Callable[..., Any]]:
    """Opens a connection with a channel in confirm mode, and declares the stream s."""
    connections: list[pika.BlockingConnection] = []

    def channel_to(broker: BrokerProcess, prefetch: int = 1000, **arguments: Any) -> Any:
        connections.append(pika.BlockingConnection(pika.URLParameters(broker.url)))
        channel = connections[-1].channel()
        channel.basic_qos(prefetch_count=prefetch)
        channel.confirm_delivery()
        channel.queue_declare("s", durable=True, arguments={**STREAM, **arguments})
        return channel

    yield channel_to
    for connection in connections:
        with suppress(pika.exceptions.AMQPError):
            connection.close()


def read(channel: Any, count: int, tag: str = "c", **arguments: Any) -> list[tuple[int, bytes]]:
    """Offset and body of so many messages, each acked; then the consumer is cancelled."""
    found: list[tuple[int, bytes]] = []

    def deliver(channel: Any, method: Any, properties: Any, body: bytes) -> None:
        if len(found) < count:
            found.append((properties.headers["x-stream-offset"], body))
            channel.basic_ack(method.delivery_tag)

    names = {name.replace("_", "-"): value for name, value in arguments.items()}
    channel.basic_consume("s", deliver, consumer_tag=tag, arguments=names)
    deadline = time.monotonic() + PATIENCE
    while len(found) < count:
        assert time.monotonic() < deadline, f"{len(found)} of {count} came"
        channel.connection.process_data_events(1)
    channel.basic_cancel(tag)
    return found


def directory(broker: BrokerProcess) -> Path:
    (found,) = (broker.data_dir / "streams").iterdir()
    return found


def test_readers_at_their_own_offsets_before_and_after_a_restart(
    broker: BrokerProcess, channel_to: Callable[..., Any]
) -> None:
    channel = channel_to(broker)
    for number in range(500):
        channel.basic_publish("", "s", b"%d" % number)
    every = [(number, b"%d" % number) for number in range(502)]
    assert read(channel, 500, x_stream_offset="first") == every[:500]
    assert read(channel, 20, x_stream_offset=480) == every[480:500]
    assert read(channel, 300, "t", x_stream_automatic_offset_tracking=True) == every[:300]
    channel.connection.close()
    assert broker.stop() == 0
    broker.start()
    channel = channel_to(broker)
    assert channel.queue_declare("s", passive=True).method.message_count == 500
    channel.basic_publish("", "s", b"500")
    channel.basic_publish("", "s", b"501")
    assert read(channel, 202, "t", x_stream_automatic_offset_tracking=True) == every[300:]
    assert read(channel, 502, x_stream_offset="1h") == every
    assert read(channel, 1, x_stream_offset="last") == every[501:]


def test_a_stream_larger_than_its_tail_is_read_by_several_while_it_grows(
    broker: BrokerProcess, channel_to: Callable[..., Any]
) -> None:
    channel = channel_to(broker)
    payload = b"z" * 50_000
    for number in range(100):
        channel.basic_publish("", "s", b"%03d" % number + payload)
    found: dict[str, list[int]] = {"first": [], "middle": [], "next": []}

    def into(tag: str) -> Any:
        def deliver(channel: Any, method: Any, properties: Any, body: bytes) -> None:
            assert int(body[:3]) == properties.headers["x-stream-offset"]
            found[tag].append(properties.headers["x-stream-offset"])
            channel.basic_ack(method.delivery_tag)

        return deliver

    readers = channel_to(broker, 3)
    for tag, offset in (("first", "first"), ("middle", 50), ("next", "next")):
        readers.basic_consume("s", into(tag), consumer_tag=tag, arguments={"x-stream-offset": offset})
    for number in range(100, 150):
        channel.basic_publish("", "s", b"%03d" % number + payload)
    deadline = time.monotonic() + PATIENCE
    while any(not got or got[-1] < 149 for got in found.values()):
        assert time.monotonic() < deadline, found
        readers.connection.process_data_events(1)
    assert found == {
        "first": list(range(150)),
        "middle": list(range(50, 150)),
        "next": list(range(100, 150)),
    }


def test_no_confirmed_message_is_lost_when_the_broker_is_killed(
    broker: BrokerProcess, channel_to: Callable[..., Any]
) -> None:
    confirmed: list[bytes] = []
    for round in range(3):
        channel = channel_to(broker)
        enough = threading.Event()

        def publish(channel: Any = channel, round: int = round, enough: threading.Event = enough) -> None:
            number = 0
            try:
                while True:
                    body = b"%d.%d" % (round, number)
                    channel.basic_publish("", "s", body)
                    confirmed.append(body)
                    number += 1
                    if number == 100:
                        enough.set()
            except pika.exceptions.AMQPError:
                pass

        thread = threading.Thread(target=publish)
        thread.start()
        assert enough.wait(PATIENCE)
        os.kill(broker.pid, signal.SIGKILL)
        thread.join(PATIENCE)
        broker.kill()
        broker.start()
    channel = channel_to(broker)
    count = channel.queue_declare("s", passive=True).method.message_count
    messages = read(channel, count, x_stream_offset="first")
    assert [offset for offset, _ in messages] == list(range(count))
    bodies = [body for _, body in messages]
    assert set(confirmed) <= set(bodies)
    assert count - len(confirmed) <= 3, "at most one unconfirmed message of each life"


def test_retention_by_octets_and_deletion(broker: BrokerProcess, channel_to: Callable[..., Any]) -> None:
    limits = {"x-stream-max-segment-size-bytes": 20_000, "x-max-length-bytes": 50_000}
    channel = channel_to(broker, **limits)
    for number in range(300):
        channel.basic_publish("", "s", b"%d" % number * 100)
    segments = list(directory(broker).glob("*.log"))
    assert sum(path.stat().st_size for path in segments) <= 50_000 + 20_000
    count = channel.queue_declare("s", passive=True).method.message_count
    assert 50 < count < 250
    messages = read(channel, count, x_stream_offset="first")
    assert messages[-1] == (299, b"299" * 100) and messages[0][0] == 300 - count
    where = directory(broker)
    channel.queue_delete("s")
    channel.queue_declare("s", durable=True, arguments=STREAM)
    channel.basic_publish("", "s", b"new")
    assert read(channel, 1, x_stream_offset="first") == [(0, b"new")]
    assert not where.exists()


def test_a_torn_tail_is_reported_in_the_log(broker: BrokerProcess, channel_to: Callable[..., Any]) -> None:
    channel = channel_to(broker)
    channel.basic_publish("", "s", b"one")
    channel.basic_publish("", "s", b"two")
    broker.kill()
    (path,) = directory(broker).glob("*.log")
    os.truncate(path, path.stat().st_size - 1)
    broker.start()
    assert f"the last batch of a log was not complete and has been cut off: Torn(file='{path}'" in broker.log()
    channel = channel_to(broker)
    channel.basic_publish("", "s", b"three")
    assert read(channel, 2, x_stream_offset="first") == [(0, b"one"), (1, b"three")]
