"""Publishers that have to wait: while an alarm is on, and while the journal has enough."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pamqp import commands

from amqpd.core.alarms import DISK, MEMORY
from amqpd.protocol.session import ALLOWANCE
from amqpd.storage.journal.journal import LET_IN
from amqpd.storage.memory import MemoryEngine
from amqpd.wire import framing, methods
from tests.support.world import Client, World

C = commands

FIGURES = "2 MB used, limit 1 MB"
CAPABLE = ("connection.blocked", "consumer_cancel_notify")


def alarm(world: World, resource: str = MEMORY, figures: str = FIGURES) -> None:
    world.broker.alarms.raise_(resource, figures)
    world.run()


def clear(world: World, resource: str = MEMORY) -> None:
    world.broker.alarms.clear(resource)
    world.run()


def state(client: Client) -> object:
    return client.session.info()["state"]


def bodies(world: World, queue: str = "q") -> list[bytes]:
    """What lies ready in the queue."""
    client = world.connect()
    client.open()
    found = []
    while len(frames := client.method(1, C.Basic.Get, queue=queue, no_ack=True)) > 1:
        found.append(b"".join(frame for frame in frames if isinstance(frame, bytes)))
    return found


@pytest.fixture
def client(world: World) -> Client:
    client = world.connect(capabilities=CAPABLE)
    client.open()
    client.declare("q")
    return client


# ----------------------------------------------------------------------------------------------------- alarms


def test_a_publisher_is_blocked_at_its_first_publish_and_goes_on_after(world: World, client: Client) -> None:
    alarm(world)
    assert (state(client), client.reading, client.frames()) == ("blocking", True, [])
    (blocked,) = client.publish("", "q", b"first")
    assert isinstance(blocked, C.Connection.Blocked)
    assert blocked.reason == f"low on memory: {FIGURES}"
    assert (state(client), client.reading, world.queue("q").ready) == ("blocked", False, 0)
    clear(world)
    (unblocked,) = client.frames()
    assert isinstance(unblocked, C.Connection.Unblocked)
    assert (state(client), client.reading) == ("running", True)
    client.publish("", "q", b"second")
    assert bodies(world) == [b"first", b"second"]


def test_who_does_not_understand_it_is_blocked_and_not_told(world: World, client: Client) -> None:
    plain = world.connect()
    plain.open()
    alarm(world)
    assert plain.publish("", "q") == []
    assert not plain.reading
    clear(world)
    assert plain.frames() == []
    assert plain.reading and world.queue("q").ready == 1


def test_consumers_drain_and_are_never_blocked(world: World, client: Client) -> None:
    for number in range(5):
        client.publish("", "q", b"%d" % number)
    consumer = world.connect(capabilities=CAPABLE)
    consumer.open()
    alarm(world)
    consumer.method(1, C.Basic.Qos, prefetch_count=1)
    consumer.consume("q")
    for tag in range(1, 6):
        consumer.method(1, C.Basic.Ack, delivery_tag=tag)
    assert (world.queue("q").ready, world.queue("q").unacked) == (0, 0)
    assert (state(consumer), consumer.reading) == ("blocking", True)
    clear(world)
    assert consumer.frames() == []
    assert state(consumer) == "running"


def test_acks_still_take_the_lane(world: World, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    client.publish("", "q")
    client.consume("q")
    alarm(world)
    monkeypatch.setattr(client.session, "frame", None)
    client.method(1, C.Basic.Ack, delivery_tag=1)
    assert world.queue("q").unacked == 0


def test_a_blocked_client_is_still_served(world: World, client: Client) -> None:
    client.consume("q", no_ack=True)
    other = world.connect()
    other.open()
    alarm(world)
    client.publish("", "q", b"mine")
    world.queue("q").publish([(1000, b"\x00\x01q", b"\x02\x00\x01", 1, 0)])
    world.run()
    assert b"\x00\x3c\x00\x3c" in client.received


def test_a_connection_made_during_an_alarm(world: World, client: Client) -> None:
    alarm(world)
    late = world.connect(capabilities=CAPABLE)
    late.open()
    assert (state(late), late.reading) == ("blocking", True)
    (blocked,) = late.publish("", "q", b"late")
    assert isinstance(blocked, C.Connection.Blocked)
    clear(world)
    assert bodies(world) == [b"late"]


def test_what_came_before_the_publish_is_done_and_what_came_behind_waits(world: World, client: Client) -> None:
    client.publish("", "q", b"one")
    client.consume("q")
    client.frames()
    alarm(world)
    ack = methods.encode(1, methods.build(C.Basic.Ack, delivery_tag=1))
    client.send(ack + client.publish_bytes(1, "", "q", b"two") + methods.encode(2, methods.build(C.Channel.Open)))
    assert [type(frame) for frame in client.frames()] == [C.Connection.Blocked]
    assert world.queue("q").unacked == 0
    clear(world)
    kinds = [type(frame) for frame in client.frames()]
    assert kinds[:2] == [C.Connection.Unblocked, C.Channel.OpenOk]
    assert world.queue("q").unacked == 1


def test_more_than_the_allowance_before_the_publish(world: World, client: Client) -> None:
    alarm(world)
    qos = methods.encode(1, methods.build(C.Basic.Qos, prefetch_count=3))
    client.send(qos * ALLOWANCE + client.publish_bytes(1, "", "q", b"last") + qos)
    frames = client.frames()
    assert [type(frame) for frame in frames] == [C.Basic.QosOk] * ALLOWANCE + [C.Connection.Blocked]
    clear(world)
    assert [type(frame) for frame in client.frames()] == [C.Connection.Unblocked, C.Basic.QosOk]
    assert bodies(world) == [b"last"]


@pytest.mark.parametrize("piece", [100_000, 1_000_000])
def test_more_than_a_turn_may_take_is_not_read_meanwhile(world: World, client: Client, piece: int) -> None:
    """A flood that comes in pieces: the socket rests between the turns, and the order holds."""
    count = 5 * ALLOWANCE
    flood = b"".join(client.publish_bytes(1, "", "q", b"%d" % number) for number in range(count))
    rested = 0
    for at in range(0, len(flood), piece):
        client.session.receive(flood[at : at + piece], world.now)
        if not client.reading:
            rested += 1
            world.run()
            assert client.reading
    world.run()
    assert rested
    assert bodies(world) == [b"%d" % number for number in range(count)]


@pytest.mark.parametrize("piece", [8_191, 9_000, 60_000, 70_001, 262_144])
def test_large_and_small_frames_in_pieces(world: World, client: Client, piece: int) -> None:
    sent = [bytes([65 + number % 26]) * size for number, size in enumerate([60_000, 3, 20_000, 0, 130_000, 8_000] * 6)]
    data = b"".join(client.publish_bytes(1, "", "q", body) for body in sent)
    for at in range(0, len(data), piece):
        client.session.receive(data[at : at + piece], world.now)
        if at % 3 == 0:
            world.run()
    world.run()
    assert bodies(world) == sent


def test_what_follows_a_large_frame_that_spends_the_allowance_waits(world: World, client: Client) -> None:
    """A fan-out of a large message to many queues: the next one comes a turn later, and in order."""
    queues = [f"q{number}" for number in range(ALLOWANCE + 10)]
    for name in queues:
        client.declare(name)
        client.method(1, C.Queue.Bind, queue=name, exchange="amq.fanout", routing_key="")
    first, second, third = (client.publish_bytes(1, "amq.fanout", "", body) for body in (b"1" * 20_000, b"2", b"3"))
    client.session.receive(first[:10_000], world.now)
    client.session.receive(first[10_000:] + second, world.now)
    assert client.session.deferred
    client.session.receive(third, world.now)
    world.run()
    assert bodies(world, queues[-1]) == [b"1" * 20_000, b"2", b"3"]


def test_a_body_that_was_under_way_waits(world: World, client: Client) -> None:
    data = client.publish_bytes(1, "", "q", b"body")
    client.send(data[:-12])
    alarm(world)
    client.send(data[-12:])
    assert not client.reading and world.queue("q").ready == 0
    clear(world)
    assert bodies(world) == [b"body"]


def test_transactions_wait_too(world: World, client: Client) -> None:
    client.method(1, C.Tx.Select)
    client.publish("", "q", b"before")
    alarm(world)
    client.method(1, C.Tx.Commit)
    assert world.queue("q").ready == 1
    client.publish("", "q", b"during")
    assert not client.reading
    clear(world)
    client.method(1, C.Tx.Commit)
    assert bodies(world) == [b"before", b"during"]


def test_two_alarms_are_said_in_one_and_the_second_to_clear_counts(world: World, client: Client) -> None:
    alarm(world, DISK, "1 MB free, limit 2 MB")
    alarm(world)
    (blocked,) = client.publish("", "q")
    assert blocked.reason == f"low on memory & disk: {FIGURES}; 1 MB free, limit 2 MB"
    clear(world)
    assert client.frames() == [] and not client.reading
    clear(world, DISK)
    assert [type(frame) for frame in client.frames()] == [C.Connection.Unblocked]


def test_the_next_alarm_waits_for_the_next_publish(world: World, client: Client) -> None:
    for _ in range(2):
        alarm(world)
        assert state(client) == "blocking"
        assert [type(frame) for frame in client.publish("", "q")] == [C.Connection.Blocked]
        clear(world)
        assert [type(frame) for frame in client.frames()] == [C.Connection.Unblocked]
    assert world.queue("q").ready == 2


def test_an_alarm_that_comes_back_before_the_turn_finds_what_waited(world: World, client: Client) -> None:
    alarm(world)
    client.publish("", "q", b"patient")
    world.broker.alarms.clear(MEMORY)
    world.broker.alarms.raise_(MEMORY, FIGURES)
    world.run()
    kinds = [type(frame) for frame in client.frames()]
    assert kinds == [C.Connection.Unblocked, C.Connection.Blocked]
    assert world.queue("q").ready == 0 and not client.reading
    clear(world)
    assert bodies(world) == [b"patient"]


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from([1, 2]), st.integers(0, 3)), min_size=1, max_size=12),
    st.lists(st.tuples(st.integers(0, 1500), st.sampled_from([MEMORY, DISK, None])), max_size=8),
)
def test_nothing_is_lost_or_disordered(publishes: list[tuple[int, int]], changes: list[tuple[int, str | None]]) -> None:
    """Publishes cut anywhere, with alarms that come and go in between."""
    world = World()
    client = world.connect(capabilities=CAPABLE)
    for number in (1, 2):
        client.open(number)
        client.method(number, C.Confirm.Select)
    client.declare("q", durable=True)
    data = b"".join(
        client.publish_bytes(number, "", "q", b"%d" % at * size, **({"delivery_mode": 2} if size else {}))
        for at, (number, size) in enumerate(publishes)
    )
    cuts = sorted(((at % (len(data) + 1), resource) for at, resource in changes), key=lambda change: change[0])
    edges = [0, *(position for position, _ in cuts), len(data)]
    for (start, end), resource in itertools.zip_longest(itertools.pairwise(edges), (change for _, change in cuts)):
        ready, was_blocked = world.queue("q").ready, state(client) == "blocked"
        client.send(data[start:end])
        assert not was_blocked or world.queue("q").ready == ready
        if resource is None:
            clear(world)
            clear(world, DISK)
        else:
            alarm(world, resource)
    clear(world)
    clear(world, DISK)
    assert client.reading and state(client) == "running"
    assert bodies(world) == [b"%d" % at * size for at, (_, size) in enumerate(publishes)]
    for channel in client.session.channels.values():
        assert channel.confirms is not None and channel.confirms.unconfirmed == 0


# ------------------------------------------------------------------------------------- alarms and the way out


def test_an_operator_can_close_a_blocked_connection(world: World, client: Client) -> None:
    alarm(world)
    client.publish("", "q")
    client.frames()
    client.session.force_close("maintenance")
    world.run()
    (close,) = client.frames()
    assert (close.reply_code, close.reply_text) == (320, "CONNECTION_FORCED - maintenance")
    assert client.reading
    client.send(client.publish_bytes(1, "", "q", b"more") + methods.encode(0, methods.build(C.Connection.CloseOk)))
    assert client.closed and world.queue("q").ready == 0
    clear(world)
    assert client.frames() == []


def test_a_blocked_connection_that_breaks(world: World, client: Client) -> None:
    alarm(world)
    client.publish("", "q")
    client.lose()
    assert not world.broker.connections
    clear(world)
    assert world.queue("q").ready == 0


def test_a_connection_that_errs_before_its_publish_finds_its_end(world: World, client: Client) -> None:
    alarm(world)
    wrong = framing.frame(framing.METHOD, 0, b"\x00\x0a\x00\x28\x00\x00\x00")
    close_ok = methods.encode(0, methods.build(C.Connection.CloseOk))
    client.send(wrong + client.publish_bytes(1, "", "q", b"x") + close_ok)
    (close,) = client.frames()
    assert isinstance(close, C.Connection.Close)
    assert client.closed


def test_publishes_to_a_closing_channel_do_not_block(world: World, client: Client) -> None:
    client.method(1, C.Queue.Declare, queue="none", passive=True)
    alarm(world)
    client.send(client.publish_bytes(1, "", "q", b"x") + methods.encode(1, methods.build(C.Channel.CloseOk)))
    assert client.reading and not client.session.channels


def test_heartbeats_go_out_and_silence_is_forgiven_while_blocked(world: World) -> None:
    client = world.connect(capabilities=CAPABLE, heartbeat=2)
    client.open()
    client.declare("q")
    alarm(world)
    client.publish("", "q")
    client.frames()
    world.tick(60_000, client)
    assert not client.closed
    assert client.received.count(framing.HEARTBEAT_FRAME) >= 29
    clear(world)
    world.tick(8_000, client)
    assert client.closed


# ------------------------------------------------------------------------------------------------------- flow

BIG = 1000
"""What a batch may weigh in these tests."""


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> World:
    """A world whose disk is done when the test says so; a batch is on its way."""
    monkeypatch.setattr("amqpd.storage.journal.journal.GROWTH_MAX", BIG)
    world = World(MemoryEngine(at_once=False))
    first = connect(world)
    first.declare("q", durable=True)
    first.publish("", "q", delivery_mode=2)
    first.lose()
    return world


def connect(world: World) -> Client:
    client = world.connect(capabilities=CAPABLE)
    client.open()
    client.method(1, C.Confirm.Select)
    return client


def commit(world: World) -> None:
    world.engine.commit()
    world.run()


@pytest.mark.parametrize("payload", [b"x" * BIG, b"x" * 100_000], ids=["small", "large"])
def test_who_fills_the_batch_is_read_when_another_one_grows(slow: World, payload: bytes) -> None:
    client = connect(slow)
    for _ in range(2):
        assert client.publish("", "q", payload, delivery_mode=2) == []
        assert (client.reading, state(client)) == (False, "flow")
        commit(slow)
        assert client.reading
    commit(slow)
    assert [frame.delivery_tag for frame in client.frames() if isinstance(frame, C.Basic.Ack)][-1] == 2
    slow.tick(6000, client)
    assert state(client) == "running"


def test_the_general_road_and_transactions_are_weighed_too(slow: World) -> None:
    client = slow.connect()
    client.open()
    client.method(1, C.Tx.Select)
    client.publish("", "q", b"x" * BIG, delivery_mode=2)
    assert client.reading
    client.method(1, C.Tx.Commit)
    assert not client.reading
    commit(slow)
    assert client.reading


def test_many_small_messages_weigh_too(slow: World) -> None:
    client = connect(slow)
    client.send(client.publish_bytes(1, "", "q", b"", delivery_mode=2) * 2)
    assert client.reading
    client.send(client.publish_bytes(1, "", "q", b"", delivery_mode=2) * 2)
    assert not client.reading


@pytest.mark.parametrize("properties", [{}, {"delivery_mode": 1}])
def test_transient_messages_do_not_wait_for_the_disk(slow: World, properties: dict[str, Any]) -> None:
    client = connect(slow)
    client.publish("", "q", b"x" * BIG, **properties)
    assert client.reading


def test_settles_go_on_while_the_batch_is_full(slow: World) -> None:
    consumer = slow.connect()
    consumer.open()
    consumer.consume("q")
    client = connect(slow)
    client.publish("", "q", b"x" * BIG, delivery_mode=2)
    assert not client.reading
    for tag in (1, 2):
        consumer.method(1, C.Basic.Ack, delivery_tag=tag)
    assert consumer.reading and slow.queue("q").unacked == 0
    commit(slow)
    commit(slow)
    assert client.reading and slow.folded() == {"q": []}


def test_those_who_wait_are_let_in_by_turns(slow: World) -> None:
    clients = [connect(slow) for _ in range(3 * LET_IN)]
    for client in clients:
        client.publish("", "q", b"x" * BIG, delivery_mode=2)
    assert not any(client.reading for client in clients)
    commit(slow)
    assert [client.reading for client in clients] == [True] * LET_IN + [False] * (2 * LET_IN)
    clients[0].publish("", "q", b"x" * BIG, delivery_mode=2)
    commit(slow)
    assert [client.reading for client in clients] == [False] + [True] * (2 * LET_IN - 1) + [False] * LET_IN
    commit(slow)
    assert all(client.reading for client in clients)


def test_an_alarm_and_flow_at_once(slow: World) -> None:
    client = connect(slow)
    client.publish("", "q", b"x" * BIG, delivery_mode=2)
    alarm(slow)
    client.publish("", "q", b"held", delivery_mode=2)
    assert state(client) == "blocked"
    commit(slow)
    assert not client.reading
    clear(slow)
    assert client.reading


def test_a_connection_in_flow_can_be_closed(slow: World) -> None:
    client = connect(slow)
    client.publish("", "q", b"x" * BIG, delivery_mode=2)
    client.session.force_close("shutdown")
    slow.run()
    assert client.reading
    client.method(0, C.Connection.CloseOk)
    assert client.closed
    commit(slow)


def test_a_failed_disk_leaves_the_way_out(slow: World) -> None:
    client = connect(slow)
    client.publish("", "q", b"x" * BIG, delivery_mode=2)
    slow.engine.fail(OSError("no space"))
    slow.run()
    assert not client.reading and len(slow.failures) == 1
    client.session.force_close("shutdown")
    slow.run()
    assert client.reading
