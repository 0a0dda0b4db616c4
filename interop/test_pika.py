"""pika, blocking and asynchronous: each thing a program does with it, and each code that its exceptions carry."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pika
import pytest
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import (
    AMQPConnectionError,
    ChannelClosedByBroker,
    ConnectionClosedByBroker,
    NackError,
    ProbableAccessDeniedError,
    ProbableAuthenticationError,
    UnroutableError,
)
from pika.exchange_type import ExchangeType

from interop.harness import Broker, OwnBroker, close_quietly, wait_for

Connect = Callable[..., pika.BlockingConnection]


def parameters(broker: Broker, **changes: Any) -> pika.URLParameters:
    """The broker's address as pika wants it, with these attributes changed."""
    found = pika.URLParameters(broker.url.rstrip("/") + "/%2F")
    found.socket_timeout = found.blocked_connection_timeout = 10
    for name, value in changes.items():
        setattr(found, name, value)
    return found


@pytest.fixture
def connect(broker: Broker) -> Iterator[Connect]:
    """Opens connections, and closes whatever a test leaves open."""
    opened: list[pika.BlockingConnection] = []

    def open_one(**changes: Any) -> pika.BlockingConnection:
        opened.append(pika.BlockingConnection(parameters(broker, **changes)))
        return opened[-1]

    yield open_one
    for connection in opened:
        close_quietly(connection)


@pytest.fixture
def channel(connect: Connect) -> BlockingChannel:
    """A channel on a connection of its own."""
    return connect().channel()


def exclusive(channel: BlockingChannel, **arguments: Any) -> str:
    """A new exclusive queue with a name chosen by the broker."""
    name: str = channel.queue_declare("", exclusive=True, arguments=arguments or None).method.queue
    return name


def bodies(channel: BlockingChannel, queue: str, count: int) -> list[bytes]:
    """The next `count` messages, acknowledged."""
    found = []
    for method, _, body in channel.consume(queue, inactivity_timeout=5):
        assert method is not None, f"only {len(found)} of {count} messages came"
        channel.basic_ack(method.delivery_tag)
        found.append(body)
        if len(found) == count:
            break
    channel.cancel()
    return found


def ready(channel: BlockingChannel, queue: str) -> int:
    """How many messages wait in the queue."""
    count: int = channel.queue_declare(queue, passive=True).method.message_count
    return count


# ---------------------------------------------------------------- publish, get, settle


def test_a_message_keeps_its_properties_and_body(channel: BlockingChannel) -> None:
    queue = exclusive(channel)
    sent = pika.BasicProperties(
        content_type="application/json",
        content_encoding="utf-8",
        headers={"text": "é", "int": 7, "big": 2**40, "no": False, "list": [1, "b"], "table": {"a": None}},
        delivery_mode=2,
        priority=3,
        correlation_id="c",
        reply_to="r",
        expiration="60000",
        message_id="m",
        timestamp=1_700_000_000,
        type="t",
        user_id="guest",
        app_id="a",
    )
    body = bytes(range(256)) * 1024
    channel.basic_publish("", queue, body, sent)
    method, got, received = channel.basic_get(queue)
    assert method.redelivered is False and method.message_count == 0
    assert method.exchange == "" and method.routing_key == queue
    assert received == body
    assert vars(got) == vars(sent)
    channel.basic_ack(method.delivery_tag)
    assert channel.basic_get(queue) == (None, None, None)


def test_nack_with_requeue_brings_a_message_back_in_its_place(channel: BlockingChannel) -> None:
    queue = exclusive(channel)
    for body in (b"1", b"2", b"3"):
        channel.basic_publish("", queue, body)
    method, _, body = channel.basic_get(queue)
    assert body == b"1"
    channel.basic_nack(method.delivery_tag, requeue=True)
    method, _, body = channel.basic_get(queue)
    assert (body, method.redelivered, method.message_count) == (b"1", True, 2)
    channel.basic_reject(method.delivery_tag, requeue=False)
    assert bodies(channel, queue, 2) == [b"2", b"3"]


def test_ack_multiple_settles_everything_up_to_its_tag(channel: BlockingChannel) -> None:
    queue = exclusive(channel)
    for number in range(5):
        channel.basic_publish("", queue, str(number).encode())
    tags = [channel.basic_get(queue)[0].delivery_tag for _ in range(4)]
    channel.basic_ack(tags[2], multiple=True)
    channel.basic_recover(requeue=True)
    assert bodies(channel, queue, 2) == [b"3", b"4"]


def test_recover_returns_what_is_unacked(channel: BlockingChannel) -> None:
    queue = exclusive(channel)
    channel.basic_publish("", queue, b"once more")
    assert channel.basic_get(queue)[0].redelivered is False
    channel.basic_recover(requeue=True)
    method, _, body = channel.basic_get(queue)
    assert (method.redelivered, body) == (True, b"once more")


def test_prefetch_limits_what_is_under_way(channel: BlockingChannel) -> None:
    queue = exclusive(channel)
    channel.basic_qos(prefetch_count=2)
    seen: list[int] = []
    channel.basic_consume(queue, lambda _channel, method, _properties, _body: seen.append(method.delivery_tag))
    for _ in range(5):
        channel.basic_publish("", queue, b"x")
    pump(channel, lambda: len(seen) == 2)
    assert ready(channel, queue) == 3
    channel.basic_ack(seen[-1], multiple=True)
    pump(channel, lambda: len(seen) == 4)
    assert ready(channel, queue) == 1


def pump(channel: BlockingChannel, condition: Callable[[], bool]) -> None:
    """Let the connection work until the condition holds."""

    def step() -> bool:
        channel.connection.process_data_events(time_limit=0.05)
        return condition()

    wait_for(step, "the condition while events are processed", interval=0)


def test_consumers_of_one_queue_take_turns(channel: BlockingChannel) -> None:
    queue = exclusive(channel)
    seen: dict[str, list[bytes]] = {"a": [], "b": []}
    for tag, found in seen.items():
        channel.basic_consume(
            queue, lambda _c, _m, _p, body, found=found: found.append(body), auto_ack=True, consumer_tag=tag
        )
    for number in range(4):
        channel.basic_publish("", queue, str(number).encode())
    pump(channel, lambda: sum(map(len, seen.values())) == 4)
    assert {len(found) for found in seen.values()} == {2}


def test_purge_and_delete_say_how_many_messages_went(channel: BlockingChannel) -> None:
    queue = exclusive(channel)
    for _ in range(3):
        channel.basic_publish("", queue, b"x")
    assert channel.queue_purge(queue).method.message_count == 3
    channel.basic_publish("", queue, b"x")
    assert channel.queue_delete(queue).method.message_count == 1
    assert channel.queue_delete(queue).method.message_count == 0


# ---------------------------------------------------------------- confirms, returns, transactions


def test_confirms_and_unroutable_messages(channel: BlockingChannel) -> None:
    queue = exclusive(channel)
    channel.confirm_delivery()
    channel.basic_publish("", queue, b"x", mandatory=True)
    assert ready(channel, queue) == 1
    with pytest.raises(UnroutableError) as caught:
        channel.basic_publish("", "no-such-queue", b"back", mandatory=True)
    (returned,) = caught.value.messages
    assert returned.method.reply_code == 312 and returned.method.reply_text == "NO_ROUTE"
    assert returned.body == b"back"
    channel.basic_publish("", "no-such-queue", b"gone", mandatory=False)


def test_a_full_queue_that_rejects_nacks_the_publisher(channel: BlockingChannel) -> None:
    queue = exclusive(channel, **{"x-max-length": 1, "x-overflow": "reject-publish"})
    channel.confirm_delivery()
    channel.basic_publish("", queue, b"1")
    with pytest.raises(NackError):
        channel.basic_publish("", queue, b"2")
    assert channel.basic_get(queue, auto_ack=True)[2] == b"1"


def test_a_transaction_is_seen_when_it_is_committed(channel: BlockingChannel, connect: Connect) -> None:
    queue = exclusive(channel)
    channel.tx_select()
    channel.basic_publish("", queue, b"dropped")
    channel.tx_rollback()
    channel.basic_publish("", queue, b"kept")
    assert ready(channel, queue) == 0
    channel.tx_commit()
    assert ready(channel, queue) == 1
    method, _, _ = channel.basic_get(queue)
    channel.basic_ack(method.delivery_tag)
    channel.tx_rollback()
    channel.basic_recover(requeue=True)
    assert ready(channel, queue) == 1


# ---------------------------------------------------------------- exchanges


def test_exchange_to_exchange_bindings(channel: BlockingChannel, unique: str) -> None:
    source, target, queue = f"{unique}-source", f"{unique}-target", exclusive(channel)
    channel.exchange_declare(source, ExchangeType.topic, auto_delete=True)
    channel.exchange_declare(target, ExchangeType.fanout, auto_delete=True)
    channel.exchange_bind(target, source, "news.#")
    channel.queue_bind(queue, target)
    channel.basic_publish(source, "news.today", b"yes")
    channel.basic_publish(source, "weather", b"no")
    assert bodies(channel, queue, 1) == [b"yes"]
    channel.exchange_unbind(target, source, "news.#")
    with pytest.raises(ChannelClosedByBroker) as caught:  # it was the last binding, so the exchange is gone
        channel.exchange_declare(source, passive=True)
    assert caught.value.reply_code == 404


@pytest.mark.parametrize(
    ("pattern", "hits"),
    [
        ("a.*", {"a.b", "a."}),
        ("a.#", {"a", "a.b", "a.", "a.b.c"}),
        ("#.c", {"a.b.c", "c"}),
        ("*.b.#", {"a.b", "a.b.c"}),
        ("#", {"a", "a.b", "a.", "a.b.c", "c", ""}),
    ],
)
def test_topic_patterns(channel: BlockingChannel, unique: str, pattern: str, hits: set[str]) -> None:
    queue = exclusive(channel)
    channel.exchange_declare(unique, ExchangeType.topic, auto_delete=True)
    channel.queue_bind(queue, unique, pattern)
    for key in ("a", "a.b", "a.", "a.b.c", "c", ""):
        channel.basic_publish(unique, key, key.encode())
    assert {body.decode() for body in bodies(channel, queue, len(hits))} == hits
    assert ready(channel, queue) == 0


@pytest.mark.parametrize(("match", "hits"), [("all", [b"both"]), ("any", [b"one", b"both"])])
def test_headers_exchange(channel: BlockingChannel, unique: str, match: str, hits: list[bytes]) -> None:
    queue = exclusive(channel)
    channel.exchange_declare(unique, ExchangeType.headers, auto_delete=True)
    channel.queue_bind(queue, unique, arguments={"x-match": match, "colour": "red", "size": 3})
    for body, headers in ((b"none", {}), (b"one", {"colour": "red"}), (b"both", {"colour": "red", "size": 3})):
        channel.basic_publish(unique, "", body, pika.BasicProperties(headers=headers))
    assert bodies(channel, queue, len(hits)) == hits
    assert ready(channel, queue) == 0


# ---------------------------------------------------------------- errors


def consume_exclusively(channel: BlockingChannel, queue: str) -> None:
    """A second consumer, where the first asked to be alone."""
    channel.basic_consume(queue, lambda *_: None, exclusive=True)
    channel.basic_consume(queue, lambda *_: None)


def redeclare(channel: BlockingChannel, queue: str) -> None:
    """The same name with an argument more."""
    channel.queue_declare(f"{queue[4:]}-twice", exclusive=True)
    channel.queue_declare(f"{queue[4:]}-twice", exclusive=True, arguments={"x-max-length": 1})


CHANNEL_ERRORS: dict[str, tuple[int, Callable[[BlockingChannel, str], Any]]] = {
    "passive declare of no queue": (404, lambda c, q: c.queue_declare("no-such-queue", passive=True)),
    "passive declare of no exchange": (404, lambda c, q: c.exchange_declare("no-such-exchange", passive=True)),
    "get from no queue": (404, lambda c, q: c.basic_get("no-such-queue")),
    "consume from no queue": (404, lambda c, q: c.basic_consume("no-such-queue", lambda *_: None)),
    "bind to no exchange": (404, lambda c, q: c.queue_bind(q, "no-such-exchange")),
    "purge of no queue": (404, lambda c, q: c.queue_purge("no-such-queue")),
    "a name of the broker's": (403, lambda c, q: c.queue_declare(q, exclusive=True)),
    "other arguments": (406, redeclare),
    "another type of exchange": (406, lambda c, q: c.exchange_declare("amq.direct", ExchangeType.fanout)),
    "a queue that is not empty": (406, lambda c, q: (c.basic_publish("", q, b"x"), c.queue_delete(q, if_empty=True))),
    "a bad argument": (406, lambda c, q: c.queue_declare("", exclusive=True, arguments={"x-message-ttl": -1})),
    "a reserved name": (403, lambda c, q: c.exchange_declare("amq.mine")),
    "bind to the default exchange": (403, lambda c, q: c.queue_bind(q, "", "key")),
    "delete the default exchange": (403, lambda c, q: c.exchange_delete("")),
    "an exclusive consumer's queue": (403, consume_exclusively),
}


@pytest.mark.parametrize("what", CHANNEL_ERRORS)
def test_channel_errors_by_code(channel: BlockingChannel, what: str) -> None:
    code, act = CHANNEL_ERRORS[what]
    queue = exclusive(channel)
    with pytest.raises(ChannelClosedByBroker) as caught:
        act(channel, queue)
        ready(channel, queue)
    assert caught.value.reply_code == code
    assert channel.connection.is_open
    assert channel.connection.channel().queue_delete(queue).method is not None


def test_an_exclusive_queue_is_locked_for_others(channel: BlockingChannel, connect: Connect) -> None:
    queue = exclusive(channel)
    for act in (
        lambda other: other.queue_declare(queue, passive=True),
        lambda other: other.basic_get(queue),
        lambda other: other.queue_delete(queue),
    ):
        with pytest.raises(ChannelClosedByBroker) as caught:
            act(connect().channel())
        assert caught.value.reply_code == 405


def test_acknowledging_an_unknown_tag_closes_the_channel(channel: BlockingChannel) -> None:
    queue = exclusive(channel)
    channel.basic_ack(99)
    with pytest.raises(ChannelClosedByBroker) as caught:
        ready(channel, queue)
    assert caught.value.reply_code == 406
    assert "unknown delivery tag 99" in caught.value.reply_text


def test_publishing_to_no_exchange_closes_the_channel(channel: BlockingChannel) -> None:
    channel.confirm_delivery()
    with pytest.raises(ChannelClosedByBroker) as caught:
        channel.basic_publish("no-such-exchange", "", b"x")
    assert caught.value.reply_code == 404
    assert caught.value.reply_text == "NOT_FOUND - no exchange 'no-such-exchange' in vhost '/'"


def consume_twice(channel: BlockingChannel) -> None:
    """One tag for two consumers: sent as it is, for the client would refuse it before the broker can."""
    consume = pika.spec.Basic.Consume(queue=exclusive(channel), consumer_tag="same", nowait=True)
    for _ in range(2):
        channel._impl._send_method(consume)
    exclusive(channel)


CONNECTION_ERRORS: dict[str, tuple[int, Callable[[BlockingChannel], Any]]] = {
    "a tag twice": (530, consume_twice),
    "prefetch by size": (540, lambda c: c.basic_qos(prefetch_size=10)),
    "recover without requeue": (540, lambda c: c.basic_recover(requeue=False)),
}


@pytest.mark.parametrize("what", CONNECTION_ERRORS)
def test_connection_errors_by_code(connect: Connect, what: str) -> None:
    code, act = CONNECTION_ERRORS[what]
    connection = connect()
    with pytest.raises(ConnectionClosedByBroker) as caught:
        act(connection.channel())
    assert caught.value.reply_code == code
    assert connection.is_closed


def test_an_unknown_exchange_type(connect: Connect) -> None:
    """A precondition of the channel since RabbitMQ 4; before that it closed the connection."""
    connection = connect()
    major = int(str(connection._impl.server_properties["version"]).split(".")[0])
    with pytest.raises((ChannelClosedByBroker, ConnectionClosedByBroker)) as caught:
        connection.channel().exchange_declare("interop-no-type", "no-such-type")
    assert caught.value.reply_code == (406 if major >= 4 else 503)
    assert "unknown exchange type 'no-such-type'" in caught.value.reply_text
    assert connection.is_open is (major >= 4)


def test_a_wrong_password_and_an_unknown_vhost_are_refused(broker: Broker) -> None:
    wrong = parameters(broker, credentials=pika.PlainCredentials("guest", "wrong"))
    with pytest.raises(ProbableAuthenticationError, match="403"):
        close_quietly(pika.BlockingConnection(wrong))
    with pytest.raises((ProbableAccessDeniedError, ConnectionClosedByBroker, AMQPConnectionError), match="530"):
        close_quietly(pika.BlockingConnection(parameters(broker, virtual_host="no-such-vhost")))


# ---------------------------------------------------------------- life of a connection


def test_a_consumer_is_told_that_its_queue_is_gone(channel: BlockingChannel, connect: Connect, unique: str) -> None:
    channel.queue_declare(unique)
    told: list[str] = []
    channel.add_on_cancel_callback(lambda frame: told.append(frame.method.consumer_tag))
    tag = channel.basic_consume(unique, lambda *_: None)
    connect().channel().queue_delete(unique)
    pump(channel, lambda: bool(told))
    assert told == [tag]
    assert channel.is_open


def test_blocked_callbacks_are_wired_and_stay_quiet(connect: Connect) -> None:
    connection = connect()
    fired: list[str] = []
    connection.add_on_connection_blocked_callback(lambda *_: fired.append("blocked"))
    connection.add_on_connection_unblocked_callback(lambda *_: fired.append("unblocked"))
    channel = connection.channel()
    channel.confirm_delivery()
    channel.basic_publish("", exclusive(channel), b"x" * 100_000, pika.BasicProperties(delivery_mode=2))
    connection.process_data_events(time_limit=0)
    assert not fired


def test_a_short_heartbeat_keeps_an_idle_connection_open(connect: Connect) -> None:
    """The client closes a connection on which nothing came for two intervals; the broker's heartbeats prevent it."""
    connection = connect(heartbeat=1)
    channel = connection.channel()
    connection.process_data_events(time_limit=3.5)
    assert connection.is_open
    assert exclusive(channel)


def test_a_silent_client_is_dropped(connect: Connect, broker: Broker) -> None:
    """A client that asked for heartbeats and sends none: its exclusive queue goes with its connection."""
    silent = connect(heartbeat=1)
    queue = exclusive(silent.channel())
    watcher = connect()

    def gone() -> bool:
        channel = watcher.channel()
        try:
            channel.queue_declare(queue, passive=True)
        except ChannelClosedByBroker as closed:
            return closed.reply_code == 404
        return False

    wait_for(gone, "the silent client's queue to go", timeout=10, interval=0.2)


def test_callbacks_from_other_threads(connect: Connect) -> None:
    connection = connect()
    channel = connection.channel()
    queue = exclusive(channel)
    got: list[bytes] = []
    workers: list[threading.Thread] = []

    def work(tag: int, body: bytes) -> None:
        got.append(body)
        connection.add_callback_threadsafe(lambda: channel.basic_ack(tag))
        if len(got) == 20:
            connection.add_callback_threadsafe(channel.stop_consuming)

    def on_message(_channel: Any, method: Any, _properties: Any, body: bytes) -> None:
        workers.append(threading.Thread(target=work, args=(method.delivery_tag, body)))
        workers[-1].start()

    channel.basic_qos(prefetch_count=4)
    channel.basic_consume(queue, on_message)
    for number in range(20):
        channel.basic_publish("", queue, str(number).encode())
    channel.start_consuming()
    for worker in workers:
        worker.join()
    assert {int(body) for body in got} == set(range(20))
    assert ready(channel, queue) == 0


def test_channels_are_independent(connect: Connect) -> None:
    connection = connect()
    channels = [connection.channel() for _ in range(50)]
    with pytest.raises(ChannelClosedByBroker):
        channels[7].queue_declare("no-such-queue", passive=True)
    queue = exclusive(channels[0])
    for channel in channels[:7] + channels[8:]:
        channel.basic_publish("", queue, b"x")
        assert channel.queue_declare(queue, passive=True).method.queue == queue
    assert connection.channel(8).channel_number == 8


@pytest.mark.parametrize("crash", [False, True], ids=["stopped", "killed"])
def test_durable_messages_survive_a_restart(own_broker: OwnBroker, crash: bool) -> None:
    """What was confirmed is there after the restart, in order; what was promised to no disk is not."""
    connection = pika.BlockingConnection(parameters(own_broker))
    channel = connection.channel()
    channel.confirm_delivery()
    channel.exchange_declare("kept", ExchangeType.topic, durable=True)
    channel.queue_declare("kept", durable=True)
    channel.queue_bind("kept", "kept", "a.#")
    for number in range(200):
        mode = 2 if number % 2 == 0 else 1
        channel.basic_publish("kept", "a.b", str(number).encode(), pika.BasicProperties(delivery_mode=mode))
    settled, _, _ = channel.basic_get("kept")
    channel.basic_ack(settled.delivery_tag)
    assert ready(channel, "kept") == 199
    own_broker.restart(crash=crash)
    close_quietly(connection)
    connection = pika.BlockingConnection(parameters(own_broker))
    try:
        channel = connection.channel()
        expected = list(range(2, 200, 2))
        found = [int(body) for body in bodies(channel, "kept", ready(channel, "kept"))]
        assert found[-99:] == expected
        assert found in (expected, [0, *expected]) if crash else found == expected  # a crash may forget the ack
        channel.confirm_delivery()
        channel.basic_publish("kept", "a.c", b"again", mandatory=True)
    finally:
        close_quietly(connection)


# ---------------------------------------------------------------- the asynchronous adapter


class Ping:
    """Declare, bind, publish with confirms, consume and acknowledge, all by callbacks of a SelectConnection."""

    def __init__(self, broker: Broker, exchange: str, count: int) -> None:
        self.exchange, self.count = exchange, count
        self.queue = ""
        self.got: list[bytes] = []
        self.confirmed = 0
        self.problem: object = None
        self.connection = pika.SelectConnection(
            parameters(broker),
            on_open_callback=self.opened,
            on_open_error_callback=self.failed,
            on_close_callback=self.closed,
        )
        self.timer = self.connection.ioloop.call_later(20, self.timed_out)

    def timed_out(self) -> None:
        """The test's deadline."""
        self.problem = f"{len(self.got)} messages and {self.confirmed} confirms in 20 s"
        self.connection.ioloop.stop()

    def failed(self, _connection: Any, error: object) -> None:
        """The connection could not be opened."""
        self.problem = error
        self.connection.ioloop.stop()

    def closed(self, _connection: Any, reason: object) -> None:
        """The end of the loop."""
        self.reason = reason
        self.connection.ioloop.stop()

    def opened(self, connection: Any) -> None:
        """First step."""
        connection.channel(on_open_callback=self.channel_open)

    def channel_open(self, channel: Any) -> None:
        """Second step."""
        self.channel = channel
        channel.exchange_declare(self.exchange, ExchangeType.direct, auto_delete=True, callback=self.exchange_declared)

    def exchange_declared(self, _frame: Any) -> None:
        """Third step."""
        self.channel.queue_declare("", exclusive=True, callback=self.queue_declared)

    def queue_declared(self, frame: Any) -> None:
        """Fourth step."""
        self.queue = frame.method.queue
        self.channel.queue_bind(self.queue, self.exchange, "ping", callback=self.bound)

    def bound(self, _frame: Any) -> None:
        """Fifth step."""
        self.channel.confirm_delivery(ack_nack_callback=self.confirm, callback=self.confirming)

    def confirming(self, _frame: Any) -> None:
        """Sixth step."""
        self.channel.basic_consume(self.queue, self.message, callback=self.consuming)

    def consuming(self, _frame: Any) -> None:
        """Seventh step: all messages in one go."""
        for number in range(self.count):
            self.channel.basic_publish(self.exchange, "ping", str(number).encode())

    def confirm(self, frame: Any) -> None:
        """An acknowledgement of the broker, of one message or of all up to it."""
        assert isinstance(frame.method, pika.spec.Basic.Ack)
        self.confirmed = frame.method.delivery_tag if frame.method.multiple else self.confirmed + 1
        self.end_when_done()

    def message(self, channel: Any, method: Any, _properties: Any, body: bytes) -> None:
        """A delivery."""
        self.got.append(body)
        channel.basic_ack(method.delivery_tag)
        self.end_when_done()

    def end_when_done(self) -> None:
        """Close the connection after the last message and the last confirm."""
        if len(self.got) == self.count == self.confirmed:
            self.connection.ioloop.remove_timeout(self.timer)
            self.connection.close()


def test_select_connection(broker: Broker, unique: str) -> None:
    ping = Ping(broker, unique, 500)
    ping.connection.ioloop.start()
    assert ping.problem is None
    assert ping.got == [str(number).encode() for number in range(500)]
    assert ping.connection.is_closed
    ping.connection.ioloop.close()
