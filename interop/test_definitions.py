"""Definitions move between RabbitMQ and amqpd, both ways, and the users in them log in.

Needs the `rabbitmq-server` package; a private node of it is started for this.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pika
import pytest

from tests.support.broker import BrokerProcess
from tests.support.rabbitmq import SCRIPT, RabbitProcess

pytestmark = [
    pytest.mark.skipif(not SCRIPT.exists(), reason="there is no RabbitMQ on this machine"),
    pytest.mark.timeout(400),
]

CTL = SCRIPT.with_name("rabbitmqctl")

COMMANDS = (
    ("add_user", "orders-app", "orders secret"),
    ("set_user_tags", "orders-app", "management", "policymaker"),
    ("add_user", "reader", "s3cret-reader"),
    ("add_vhost", "shop", "--description", "The shop", "--tags", "production,eu"),
    ("set_permissions", "-p", "shop", "orders-app", ".*", ".*", ".*"),
    ("set_permissions", "-p", "shop", "reader", "^$", "^$", "^orders"),
    ("set_topic_permissions", "-p", "shop", "orders-app", "events", "^orders", "^orders"),
    ("set_user_limits", "reader", '{"max-connections": 5, "max-channels": 10}'),
    ("set_vhost_limits", "-p", "shop", '{"max-connections": 100, "max-queues": 50}'),
    ("set_policy", "-p", "shop", "lengths", "^orders", '{"max-length": 1000}', "--priority", "5"),
    ("set_policy", "-p", "shop", "mirrored", "^log", '{"ha-mode": "all"}'),
    ("set_policy", "-p", "shop", "spare", "^events", '{"alternate-exchange": "unrouted"}', "--apply-to", "exchanges"),
    ("set_operator_policy", "-p", "shop", "ceiling", ".*", '{"max-length": 500}', "--apply-to", "queues"),
    ("set_global_parameter", "mqtt_default_vhosts", '{"O=client,CN=guest": "/"}'),
)

QUEUES: dict[str, dict[str, Any]] = {
    "orders.classic": {"x-max-priority": 5, "x-message-ttl": 60000, "x-dead-letter-exchange": "unrouted"},
    "orders.quorum": {"x-queue-type": "quorum", "x-delivery-limit": 5},
    "orders.lazy": {"x-queue-mode": "lazy", "x-max-length-bytes": 1048576},
    "log": {"x-queue-type": "stream", "x-max-age": "7D"},
    "single": {"x-single-active-consumer": True, "x-expires": 1800000},
}


class Ctl:
    """RabbitMQ's or amqpd's command line tool for one broker."""

    def __init__(self, command: list[str], environment: dict[str, str]) -> None:
        self.command = command
        self.environment = environment

    def __call__(self, *words: str) -> str:
        run = subprocess.run(
            [*self.command, *words], env=self.environment, capture_output=True, text=True, timeout=120, check=False
        )
        assert run.returncode == 0, f"{words}: {run.stdout}{run.stderr}"
        return run.stdout


def rabbitmqctl(rabbit: RabbitProcess) -> Ctl:
    return Ctl([str(CTL)], rabbit.environment())


def amqpctl(broker: BrokerProcess) -> Ctl:
    command = [sys.executable, "-m", "amqpd.cli.control", "--data-dir", str(broker.data_dir)]
    return Ctl(command, {**os.environ, **broker.environment()})


def channel(broker: BrokerProcess, user: str, password: str, vhost: str = "shop") -> Any:
    credentials = pika.PlainCredentials(user, password)
    return pika.BlockingConnection(pika.ConnectionParameters(broker.host, broker.port, vhost, credentials)).channel()


def declare(broker: BrokerProcess) -> None:
    """Exchanges, queues of all kinds and bindings."""
    on = channel(broker, "orders-app", "orders secret")
    on.exchange_declare("events", "topic", durable=True)
    on.exchange_declare("unrouted", "fanout", durable=True)
    on.exchange_declare("audit", "headers", durable=True, arguments={"alternate-exchange": "unrouted"})
    for name, arguments in QUEUES.items():
        on.queue_declare(name, durable=True, arguments=arguments)
    on.queue_bind("orders.classic", "events", "orders.#")
    on.queue_bind("orders.quorum", "events", "orders.*.paid")
    on.queue_bind("single", "audit", "", {"x-match": "all", "kind": "sale", "n": 7})
    on.queue_bind("log", "unrouted", "")
    on.exchange_bind("audit", "events", "orders")
    on.queue_declare("mine", exclusive=True)
    on.queue_bind("mine", "events", "orders")
    on.connection.close()


def check(broker: BrokerProcess) -> None:
    """The users log in, and find everything as it was declared."""
    on = channel(broker, "orders-app", "orders secret")
    for name, arguments in QUEUES.items():
        on.queue_declare(name, durable=True, arguments=arguments)
    on.exchange_declare("events", "topic", durable=True)
    on.confirm_delivery()
    on.basic_publish("events", "orders.1.paid", b"paid")
    assert on.queue_declare("orders.classic", passive=True).method.message_count == 1
    on.connection.close()
    reader = channel(broker, "reader", "s3cret-reader")
    assert reader.basic_get("orders.classic", auto_ack=True)[2] == b"paid"
    with pytest.raises(pika.exceptions.ChannelClosedByBroker, match="ACCESS_REFUSED"):
        reader.basic_get("log")
    reader.connection.close()
    on = channel(broker, "orders-app", "orders secret")
    on.basic_publish("events", "secrets", b"x")
    with pytest.raises(pika.exceptions.ChannelClosedByBroker, match="topic 'secrets' in exchange 'events'"):
        on.queue_declare("log", passive=True)
    on.connection.close()


@pytest.fixture(scope="module")
def rabbit() -> Iterator[RabbitProcess]:
    with RabbitProcess(startup_timeout=120) as running:
        yield running


@pytest.fixture(scope="module")
def exported(rabbit: RabbitProcess, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What RabbitMQ has exported."""
    ctl = rabbitmqctl(rabbit)
    for words in COMMANDS:
        ctl(*words)
    declare(rabbit)
    file = tmp_path_factory.mktemp("exported") / "definitions.json"
    ctl("export_definitions", str(file))
    return file


def test_rabbitmqs_definitions_are_loaded_at_a_start_and_its_users_log_in(exported: Path, tmp_path: Path) -> None:
    with BrokerProcess(tmp_path, [f"load_definitions = {exported}"]) as broker:
        check(broker)
        policies = amqpctl(broker)("list_queues", "-p", "shop", "-s", "name", "policy", "operator_policy")
        assert "orders.lazy\tlengths\tceiling" in policies.splitlines()
        broker.restart()
        check(broker)


def test_amqpds_definitions_are_loaded_by_rabbitmq_and_its_users_log_in(exported: Path, tmp_path: Path) -> None:
    with BrokerProcess(tmp_path / "ours", [f"load_definitions = {exported}"]) as broker:
        file = tmp_path / "ours.json"
        amqpctl(broker)("export_definitions", str(file))
    with RabbitProcess(startup_timeout=120) as other:
        ctl = rabbitmqctl(other)
        ctl("import_definitions", str(file))
        check(other)
        assert '"max-queues":50' in ctl("list_vhost_limits", "-p", "shop")
        assert "ceiling" in ctl("list_operator_policies", "-p", "shop")
        again = tmp_path / "again.json"
        ctl("export_definitions", str(again))
    ours, theirs = json.loads(file.read_text()), json.loads(again.read_text())
    for category, keys in (
        ("policies", ("vhost", "name", "pattern", "apply-to", "priority", "definition")),
        ("permissions", ("user", "vhost", "configure", "write", "read")),
        ("topic_permissions", ("user", "vhost", "exchange", "write", "read")),
        ("queues", ("vhost", "name", "type", "durable", "auto_delete", "arguments")),
        ("exchanges", ("vhost", "name", "type", "durable", "auto_delete", "arguments")),
        ("bindings", ("vhost", "source", "destination", "destination_type", "routing_key", "arguments")),
        ("users", ("name", "password_hash", "hashing_algorithm", "tags", "limits")),
    ):
        assert shown(theirs[category], keys) == shown(ours[category], keys), category


def shown(items: list[dict[str, Any]], keys: tuple[str, ...]) -> list[str]:
    """These fields of the items, in an order that does not depend on the broker."""
    return sorted(json.dumps([item.get(key) for key in keys], sort_keys=True) for item in items)
