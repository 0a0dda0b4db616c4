"""Delayed messages and deduplication, by kombu over a socket.

A RabbitMQ that these tests are pointed at needs rabbitmq_delayed_message_exchange, and fails what is amqpd's own.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import kombu
import pytest

from interop.harness import Broker, OwnBroker, wait_for


@pytest.fixture
def connection(broker: Broker) -> Iterator[kombu.Connection]:
    """A connection whose publishes are confirmed."""
    with kombu.Connection(broker.url, transport_options={"confirm_publish": True}) as opened:
        yield opened


def bound(connection: kombu.Connection, name: str, kind: str, **arguments: Any) -> kombu.Queue:
    """A durable queue, bound with its name as key to a durable exchange of that name."""
    exchange = kombu.Exchange(name, kind, durable=True, arguments=arguments)
    queue = kombu.Queue(name, exchange, name, durable=True)(connection.default_channel)
    queue.declare()
    return queue


def publish(connection: kombu.Connection, exchange: str, key: str, body: object, **headers: Any) -> None:
    connection.Producer().publish(body, exchange=exchange, routing_key=key, headers=headers, delivery_mode=2)


def arrivals(connection: kombu.Connection, queue: kombu.Queue, count: int) -> list[tuple[Any, float, dict[str, Any]]]:
    """So many messages: body, wall clock at arrival, headers."""
    found: list[tuple[Any, float, dict[str, Any]]] = []

    def received(body: Any, message: kombu.Message) -> None:
        found.append((body, time.time(), message.headers))
        message.ack()

    def arrived() -> bool:
        with suppress(TimeoutError):
            connection.drain_events(timeout=0.5)
        return len(found) >= count

    with connection.Consumer(queue, callbacks=[received]):
        wait_for(arrived, f"{count} messages")
    return found


def test_messages_come_when_they_are_due(connection: kombu.Connection, unique: str) -> None:
    queue = bound(connection, unique, "x-delayed-message", **{"x-delayed-type": "direct"})
    start = time.time()
    for delay in (600, 200, 400):
        publish(connection, unique, unique, delay, **{"x-delay": delay})
    publish(connection, "", unique, 500, **{"x-deliver-at": int(start * 1000) + 500})
    found = arrivals(connection, queue, 4)
    assert [body for body, _, _ in found] == [200, 400, 500, 600]
    assert [headers.get("x-delay") for _, _, headers in found] == [-200, -400, None, -600]
    assert all(at - start >= body / 1000 - 0.002 for body, at, _ in found)


def test_confirmed_delayed_messages_survive_a_crash(own_broker: OwnBroker, unique: str) -> None:
    with kombu.Connection(own_broker.url, transport_options={"confirm_publish": True}) as connection:
        bound(connection, unique, "x-delayed-message", **{"x-delayed-type": "fanout"})
        due = int(time.time() * 1000) + 2000
        for number in range(100):
            publish(connection, unique, "", number, **{"x-delay": 2000})
            publish(connection, "", unique, 100 + number, **{"x-deliver-at": due})
    own_broker.restart(crash=True)
    with kombu.Connection(own_broker.url) as connection:
        queue = kombu.Queue(unique, no_declare=True)(connection.default_channel)
        found = arrivals(connection, queue, 200)
    assert sorted(body for body, _, _ in found) == list(range(200))
    assert all(at * 1000 >= due - 2 for _, at, _ in found)


def test_duplicates_are_left_out(connection: kombu.Connection, unique: str) -> None:
    queue = bound(connection, unique, "x-message-deduplication", **{"x-cache-size": 100})
    for body, value in enumerate(["a", "b", "a", "c", "b"]):
        publish(connection, unique, unique, body, **{"x-deduplication-header": value})
    publish(connection, unique, unique, 5)
    assert [body for body, _, _ in arrivals(connection, queue, 4)] == [0, 1, 3, 5]
