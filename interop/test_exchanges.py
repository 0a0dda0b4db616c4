"""The exchange types that RabbitMQ has as plugins, by pika over a socket.

A RabbitMQ that these tests are pointed at needs rabbitmq_consistent_hash_exchange, rabbitmq_random_exchange,
rabbitmq_sharding and rabbitmq_recent_history_exchange.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pika
import pytest
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import ChannelClosedByBroker, UnroutableError

from interop.harness import Broker, OwnBroker

COUNT = 1000


@pytest.fixture
def channel(broker: Broker) -> Iterator[BlockingChannel]:
    """A channel with publisher confirms."""
    yield from opened(broker)


def opened(broker: Broker) -> Iterator[BlockingChannel]:
    connection = pika.BlockingConnection(pika.URLParameters(broker.url))
    try:
        found = connection.channel()
        found.confirm_delivery()
        yield found
    finally:
        connection.close()


def declare(channel: BlockingChannel, exchange: str, kind: str, weights: dict[str, str], **arguments: Any) -> list[str]:
    """A durable exchange, and durable queues that are bound to it with these keys."""
    channel.exchange_declare(exchange, kind, durable=True, arguments=arguments or None)
    queues = [f"{exchange}-{name}" for name in weights]
    for queue, weight in zip(queues, weights.values(), strict=True):
        channel.queue_declare(queue, durable=True)
        channel.queue_bind(queue, exchange, weight)
    return queues


def send(channel: BlockingChannel, exchange: str, count: int = COUNT, key: str = "{}", **properties: str) -> None:
    """Confirmed messages numbered from 0; the number is put into their key and properties."""
    for number in range(count):
        named: Any = {name: value.format(number) for name, value in properties.items()}
        wanted = pika.BasicProperties(delivery_mode=2, headers={"customer": f"c{number}"}, **named)
        channel.basic_publish(exchange, key.format(number), b"%d" % number, wanted, mandatory=True)


def where(channel: BlockingChannel, queues: list[str]) -> dict[int, str]:
    """Number of each message -> the queue that it was in; each is in one."""
    found: dict[int, str] = {}
    for queue in queues:
        while (body := channel.basic_get(queue, auto_ack=True)[2]) is not None:
            assert int(body) not in found
            found[int(body)] = queue
    return found


def refused(channel: BlockingChannel, exchange: str, kind: str, **arguments: Any) -> tuple[int, str]:
    with pytest.raises(ChannelClosedByBroker) as closed:
        channel.exchange_declare(exchange, kind, arguments=arguments)
    return closed.value.reply_code, closed.value.reply_text


def test_a_consistent_hash_shares_by_weight_and_keeps_keys_together(channel: BlockingChannel, unique: str) -> None:
    queues = declare(channel, unique, "x-consistent-hash", {"a": "10", "b": "10", "c": "20"})
    send(channel, unique)
    first = where(channel, queues)
    assert len(first) == COUNT
    counts = Counter(first.values())
    for queue, share in zip(queues, (0.25, 0.25, 0.5), strict=True):
        assert abs(counts[queue] / COUNT - share) < 0.08
    send(channel, unique)
    assert where(channel, queues) == first


def test_a_consistent_hash_is_the_same_after_a_crash(own_broker: OwnBroker, unique: str) -> None:
    channels = opened(own_broker)
    channel = next(channels)
    queues = declare(channel, unique, "x-consistent-hash", {"a": "1", "b": "1", "c": "2"})
    send(channel, unique, 200)
    first = where(channel, queues)
    channels.close()
    own_broker.restart(crash=True)
    channels = opened(own_broker)
    channel = next(channels)
    send(channel, unique, 200)
    assert where(channel, queues) == first
    channels.close()


def test_a_queue_that_leaves_takes_only_its_own_keys_along(channel: BlockingChannel, unique: str) -> None:
    queues = declare(channel, unique, "x-consistent-hash", {"a": "1", "b": "1", "c": "1"})
    send(channel, unique, 300)
    before = where(channel, queues)
    # The last that came: of another one's leaving RabbitMQ promises nothing.
    channel.queue_delete(queues[2])
    send(channel, unique, 300)
    after = where(channel, queues[:2])
    assert all(after[number] == queue for number, queue in before.items() if queue != queues[2])


@pytest.mark.parametrize(
    ("arguments", "properties"),
    [
        ({"hash-header": "customer"}, {}),
        ({"hash-property": "message_id"}, {"message_id": "m{}"}),
        ({"hash-property": "correlation_id"}, {"correlation_id": "m{}"}),
    ],
)
def test_a_consistent_hash_of_something_else(
    channel: BlockingChannel, unique: str, arguments: dict[str, str], properties: dict[str, str]
) -> None:
    queues = declare(channel, unique, "x-consistent-hash", {"a": "1", "b": "1"}, **arguments)
    send(channel, unique, 200, **properties)
    first = where(channel, queues)
    assert len(set(first.values())) == 2
    send(channel, unique, 200, key="another {}", **properties)
    assert where(channel, queues) == first


def test_what_a_consistent_hash_refuses(channel: BlockingChannel, broker: Broker, unique: str) -> None:
    text = "PRECONDITION_FAILED - Unsupported property: foo"
    assert refused(channel, unique, "x-consistent-hash", **{"hash-property": "foo"}) == (406, text)
    again = opened(broker)
    channel = next(again)
    queue = channel.queue_declare("", exclusive=True).method.queue
    channel.exchange_declare(unique, "x-consistent-hash")
    with pytest.raises(ChannelClosedByBroker) as closed:
        channel.queue_bind(queue, unique, "heavy")
    text = 'PRECONDITION_FAILED - The binding key must be an integer: <<"heavy">>'
    assert (closed.value.reply_code, closed.value.reply_text) == (406, text)
    again.close()


def test_a_modulus_hash_keeps_keys_together(channel: BlockingChannel, unique: str) -> None:
    queues = declare(channel, unique, "x-modulus-hash", {"a": "", "b": "", "c": ""})
    send(channel, unique, 300)
    first = where(channel, queues)
    assert all(60 < count < 140 for count in Counter(first.values()).values())
    send(channel, unique, 300)
    assert where(channel, queues) == first


def test_random_picks_any_queue(channel: BlockingChannel, unique: str) -> None:
    queues = declare(channel, unique, "x-random", {"a": "", "b": "", "c": ""})
    send(channel, unique, key="same")
    counts = Counter(where(channel, queues).values())
    # Seven standard deviations: by chance once in a hundred thousand million runs.
    assert all(abs(counts[queue] - COUNT / 3) < 105 for queue in queues)


def test_a_new_binding_gets_the_recent_history(channel: BlockingChannel, unique: str) -> None:
    channel.exchange_declare(unique, "x-recent-history", arguments={"x-recent-history-length": 3})
    for number in range(5):
        with pytest.raises(UnroutableError):
            channel.basic_publish(unique, f"k{number}", b"%d" % number, mandatory=True)
    silent = pika.BasicProperties(headers={"x-recent-history-no-store": True})
    channel.basic_publish(unique, "k", b"silent", silent)
    queue = channel.queue_declare("", exclusive=True).method.queue
    channel.queue_bind(queue, unique, "any")
    got = []
    while (answer := channel.basic_get(queue, auto_ack=True))[0] is not None:
        got.append((answer[0].exchange, answer[0].routing_key, answer[0].redelivered, answer[2]))
    assert got == [(unique, f"k{number}", False, b"%d" % number) for number in (2, 3, 4)]
    text = "PRECONDITION_FAILED - Invalid argument 0, 'x-recent-history-length' must be a positive integer"
    assert refused(channel, f"{unique}-bad", "x-recent-history", **{"x-recent-history-length": 0}) == (406, text)


def test_a_history_that_was_delivered_survives(own_broker: OwnBroker, unique: str) -> None:
    channels = opened(own_broker)
    channel = next(channels)
    channel.exchange_declare(unique, "x-recent-history", durable=True)
    for number in range(3):
        channel.basic_publish(unique, "k", b"%d" % number, pika.BasicProperties(delivery_mode=2))
    channel.queue_declare(unique, durable=True)
    channel.queue_bind(unique, unique, "k")
    # A message that is confirmed lies behind what came before it.
    channel.basic_publish(unique, "k", b"3", pika.BasicProperties(delivery_mode=2))
    channels.close()
    own_broker.restart(crash=True)
    channels = opened(own_broker)
    channel = next(channels)
    assert list(where(channel, [unique])) == [0, 1, 2, 3]
    channels.close()
