"""Alarms of a real node: its own memory and disk, a real client, real sockets."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pika
import pika.exceptions
import pytest
from pamqp import commands

from tests.support.broker import BrokerProcess
from tests.support.rawclient import RawClient

PATIENCE = 30.0
BANNER = "*** Publishers will be blocked until this alarm clears ***"
NEVER_FREE = "disk_free_limit.absolute = 1000000000GB"


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[BrokerProcess]:
    process = BrokerProcess(tmp_path)
    try:
        yield process.start()
    finally:
        process.kill()


def ctl(broker: BrokerProcess, *words: str) -> str:
    command = [sys.executable, "-m", "amqpd.cli.control", "--data-dir", str(broker.data_dir), *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True).stdout


class Publisher:
    """A connection whose channel publishes to `q`; what it hears of being blocked."""

    def __init__(self, broker: BrokerProcess, **options: Any) -> None:
        self.connection = pika.BlockingConnection(pika.ConnectionParameters(broker.host, broker.port, **options))
        self.heard: list[str] = []
        self.connection.add_on_connection_blocked_callback(lambda _, frame: self.heard.append(frame.method.reason))
        self.connection.add_on_connection_unblocked_callback(lambda _, frame: self.heard.append("unblocked"))
        self.channel = self.connection.channel()
        self.channel.queue_declare("q", durable=True)

    def publish(self, body: bytes) -> None:
        self.channel.basic_publish("", "q", body, pika.BasicProperties(delivery_mode=2))

    def hear(self, count: int) -> str:
        """What it hears last, once it has heard so much."""
        wait(lambda: len(self.heard) >= count, lambda: self.connection.process_data_events(0.05))
        return self.heard[-1]


def wait(condition: Callable[[], bool], meanwhile: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        meanwhile()


def test_memory_runs_short_and_consumers_drain(broker: BrokerProcess) -> None:
    publisher, consumer = Publisher(broker), Publisher(broker)
    for number in range(5):
        publisher.publish(b"%d" % number)
    publisher.channel.queue_declare("q", passive=True)
    assert ctl(broker, "set_vm_memory_high_watermark", "absolute", "1MB")
    got: list[bytes] = []

    def take(channel: Any, method: Any, properties: Any, body: bytes) -> None:
        got.append(body)
        channel.basic_ack(method.delivery_tag)

    consumer.channel.basic_consume("q", take)
    publisher.publish(b"held")
    reason = publisher.hear(1)
    assert reason.startswith("low on memory: ") and reason.endswith(" MB used, limit 1.0 MB")
    wait(lambda: len(got) == 5, lambda: consumer.connection.process_data_events(0.05))
    states = sorted(ctl(broker, "list_connections", "-s", "state").splitlines())
    assert states == ["blocked", "blocking"]
    assert "memory: " in ctl(broker, "status")
    assert "memory resource limit alarm set on node 'amqpd@" in broker.log() and BANNER in broker.log()
    ctl(broker, "set_vm_memory_high_watermark", "0.9")
    assert publisher.hear(2) == "unblocked"
    wait(lambda: len(got) == 6, lambda: consumer.connection.process_data_events(0.05))
    assert got == [b"0", b"1", b"2", b"3", b"4", b"held"]
    assert consumer.heard == []
    assert "memory resource limit alarm cleared on node 'amqpd@" in broker.log()
    publisher.connection.close()
    consumer.connection.close()


def test_too_little_disk_from_the_start_until_a_reload(tmp_path: Path) -> None:
    broker = BrokerProcess(tmp_path, [NEVER_FREE])
    try:
        broker.start()
        assert "Free disk space is insufficient." in broker.log()
        publisher = Publisher(broker)
        publisher.publish(b"held")
        assert publisher.hear(1).startswith("low on disk: ")
        config = tmp_path / "broker.conf"
        config.write_text(config.read_text().replace(NEVER_FREE, "disk_free_limit.absolute = 1MB"))
        os.kill(broker.pid, signal.SIGHUP)
        assert publisher.hear(2) == "unblocked"
        wait(
            lambda: publisher.channel.queue_declare("q", passive=True).method.message_count == 1,
            lambda: publisher.connection.process_data_events(0.05),
        )
        publisher.connection.close()
        assert broker.stop() == 0
    finally:
        broker.kill()


def test_a_blocked_connection_outlives_its_heartbeats_and_is_closed_at_a_stop(broker: BrokerProcess) -> None:
    publisher = Publisher(broker, heartbeat=1)
    ctl(broker, "set_vm_memory_high_watermark", "0")
    publisher.publish(b"held")
    publisher.hear(1)
    # Whoever is silent is given up after 3 intervals at the latest: both sides must have heard or forgiven.
    deadline = time.monotonic() + 4
    wait(lambda: time.monotonic() > deadline, lambda: publisher.connection.process_data_events(0.1))
    assert ctl(broker, "list_connections", "-s", "state") == "blocked\n"
    os.kill(broker.pid, signal.SIGTERM)
    with pytest.raises(pika.exceptions.ConnectionClosedByBroker) as closed:
        wait(lambda: False, lambda: publisher.connection.process_data_events(0.1))
    assert closed.value.reply_code == 320
    assert broker.stop() == 0


def test_an_operator_closes_a_blocked_connection(broker: BrokerProcess) -> None:
    publisher = Publisher(broker)
    ctl(broker, "set_vm_memory_high_watermark", "0")
    publisher.publish(b"held")
    publisher.hear(1)
    ctl(broker, "close_all_connections", "maintenance")
    with pytest.raises(pika.exceptions.ConnectionClosedByBroker, match="maintenance"):
        wait(lambda: False, lambda: publisher.connection.process_data_events(0.1))
    wait(lambda: ctl(broker, "list_connections", "-s", "state") == "", lambda: None)


def test_a_blocked_client_that_vanishes_is_noticed_by_the_heartbeats_sent_to_it(broker: BrokerProcess) -> None:
    ctl(broker, "set_vm_memory_high_watermark", "0")
    with RawClient.connected(broker.url, heartbeat=1) as client:
        client.open_channel()
        client.publish("", "q", b"held")
        client.expect(commands.Connection.Blocked)
    wait(lambda: ctl(broker, "list_connections", "-s", "state") == "", lambda: None)
