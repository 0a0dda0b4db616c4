"""What a real node tells of itself, and what its queues promise, seen by a real client over a socket."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pika
import pika.exceptions
import pytest

from tests.support.broker import BrokerProcess

PATIENCE = 30.0
CONFIG = (
    "event_exchange.enabled = true",
    "log.exchange = true",
    "consumer_timeout = 500",
    "redeclare = relaxed",
    "default_limits.vhosts.1.max_queues = 3",
    "default_users.alice.password = secret",
)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[BrokerProcess]:
    process = BrokerProcess(tmp_path, CONFIG)
    try:
        yield process.start()
    finally:
        process.kill()


@contextmanager
def opened(broker: BrokerProcess) -> Iterator[Any]:
    """A channel."""
    connection = pika.BlockingConnection(pika.ConnectionParameters(broker.host, broker.port))
    try:
        yield connection.channel()
    finally:
        with suppress(pika.exceptions.AMQPError):
            connection.close()


def ctl(broker: BrokerProcess, *words: str) -> str:
    command = [sys.executable, "-m", "amqpd.cli.control", "--data-dir", str(broker.data_dir), *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True).stdout


def listening(channel: Any, queue: str, exchange: str, key: str = "#") -> None:
    channel.queue_declare(queue, durable=True)
    channel.queue_bind(queue, exchange, key)


def wanted(channel: Any, queue: str, fits: Callable[[Any, Any, bytes], bool]) -> Any:
    """The first message of the queue that fits: method, properties, body."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        method, properties, body = channel.basic_get(queue, auto_ack=True)
        if method is None:
            channel.connection.process_data_events(0.02)
        elif fits(method, properties, body):
            return method, properties, body
    raise AssertionError("no such message")


def test_events_and_the_log(broker: BrokerProcess) -> None:
    with opened(broker) as channel:
        listening(channel, "events", "amq.rabbitmq.event", "queue.*")
        listening(channel, "log", "amq.rabbitmq.log", "info")
        channel.queue_declare("new")
        _, properties, _ = wanted(channel, "events", lambda *found: found[1].headers["name"] == "new")
        assert properties.headers["user_who_performed_action"] == "guest"
        with opened(broker):
            pass
        _, properties, body = wanted(channel, "log", lambda *found: b"accepting AMQP connection" in found[2])
        assert (properties.content_type, "node" in properties.headers) == ("text/plain", True)
        assert b"[info]" in body


def test_a_durable_binding_to_the_event_exchange_outlives_the_node(broker: BrokerProcess) -> None:
    with opened(broker) as channel:
        listening(channel, "events", "amq.rabbitmq.event", "vhost.*")
    broker.kill()
    broker.start()
    ctl(broker, "add_vhost", "new")
    with opened(broker) as channel:
        _, properties, _ = wanted(channel, "events", lambda method, *_: method.routing_key == "vhost.created")
        assert properties.headers["name"] == "new"
        assert "max-queues" in ctl(broker, "list_vhost_limits", "-p", "new", "-q")


def test_users_of_all_virtual_hosts_are_there_beside_the_first_user(broker: BrokerProcess) -> None:
    for user, password in (("guest", "guest"), ("alice", "secret")):
        login = pika.PlainCredentials(user, password)
        pika.BlockingConnection(pika.ConnectionParameters(broker.host, broker.port, credentials=login)).close()
    assert "administrator" in ctl(broker, "list_users", "-q")


def test_tracing(broker: BrokerProcess) -> None:
    with opened(broker) as channel:
        listening(channel, "traced", "amq.rabbitmq.trace", "publish.#")
        ctl(broker, "trace_on")
        channel.basic_publish("amq.topic", "a.b", b"seen", pika.BasicProperties(headers={"own": 1}))
        method, properties, body = wanted(channel, "traced", lambda *_: True)
        assert (method.routing_key, body) == ("publish.amq.topic", b"seen")
        assert properties.headers["properties"]["headers"] == {"own": 1}
        assert properties.headers["routing_keys"] == ["a.b"]
        ctl(broker, "trace_off")
        channel.basic_publish("amq.topic", "a.b", b"unseen")
        channel.queue_declare("traced", passive=True)
        assert channel.basic_get("traced")[0] is None


def test_a_consumer_that_is_too_slow(broker: BrokerProcess) -> None:
    with opened(broker) as channel:
        channel.queue_declare("q", durable=True, arguments={"x-queue-type": "quorum"})
        assert channel.queue_declare("q", durable=False).method.message_count == 0
        channel.basic_publish("", "q", b"slow")
        heard: list[Any] = []
        cancelled: list[str] = []
        channel.add_on_cancel_callback(lambda frame: cancelled.append(frame.method.consumer_tag))
        channel.basic_consume("q", lambda *found: heard.append(found), consumer_tag="slow")
        deadline = time.monotonic() + PATIENCE
        while not cancelled and time.monotonic() < deadline:
            channel.connection.process_data_events(0.05)
        assert cancelled == ["slow"]
        assert [found[3] for found in heard] == [b"slow"]
        channel.basic_ack(heard[0][1].delivery_tag)
        method, properties, body = channel.basic_get("q")
        assert (body, method.redelivered, properties.headers) == (b"slow", True, {"x-acquired-count": 1})
