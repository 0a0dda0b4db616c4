"""Streams on virtual time: where consumers begin, credit, filters, tracking, and who waits for which log."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest
from pamqp import commands as C

from amqpd.core.queues import stream
from amqpd.wire import methods
from amqpd.wire.tables import Field, from_json, long, longstr
from tests.support.received import split_publish
from tests.support.world import Client, World

STREAM = {"x-queue-type": "stream"}
Q = "queue 's' in vhost '/'"


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def client(world: World) -> Client:
    return ready(world)


def ready(world: World, prefetch: int = 100) -> Client:
    """A client with a channel and the stream s."""
    client = world.connect()
    client.open()
    if prefetch:
        client.method(1, C.Basic.Qos, prefetch_count=prefetch)
    assert isinstance(client.declare("s", durable=True, arguments=STREAM), C.Queue.DeclareOk)
    return client


def fill(client: Client, count: int, start: int = 0, **properties: Any) -> None:
    for number in range(start, start + count):
        client.publish("", "s", b"%d" % number, **properties)


def read(frames: Sequence[Any]) -> list[tuple[int, bytes]]:
    """Offset and body of each delivery."""
    found = []
    for at, frame in enumerate(frames):
        if isinstance(frame, C.Basic.Deliver):
            assert not frame.redelivered
            headers = frames[at + 1].properties.headers
            found.append((headers["x-stream-offset"], frames[at + 2]))
    return found


def offsets(frames: Sequence[Any]) -> list[int]:
    return [offset for offset, _ in read(frames)]


def begin(client: Client, tag: str = "c", **arguments: Any) -> list[Any]:
    names = {"x_" + name: value for name, value in arguments.items()}
    return client.consume("s", tag, arguments={name.replace("_", "-"): value for name, value in names.items()})


# ---------------------------------------------------------------------------------------------------- offsets


@pytest.mark.parametrize(
    ("offset", "found"),
    [
        (longstr("first"), [0, 1, 2, 3, 4]),
        (longstr("last"), [4]),
        (longstr("next"), []),
        (long(3), [3, 4]),
        (Field("B", 1), [1, 2, 3, 4]),
        (long(-7), [0, 1, 2, 3, 4]),
        (long(99), []),
        (Field("T", 0), [0, 1, 2, 3, 4]),
        (Field("T", 9_999_999_999), []),
        (longstr("1h"), [0, 1, 2, 3, 4]),
    ],
)
def test_where_a_consumer_begins(client: Client, offset: Field, found: list[int]) -> None:
    fill(client, 5)
    assert offsets(begin(client, stream_offset=offset)) == found


def test_without_an_offset_a_consumer_gets_what_comes_next(client: Client) -> None:
    fill(client, 3)
    assert offsets(begin(client)) == []
    assert offsets(client.publish("", "s", b"x")) == [3]


def test_what_comes_next_is_delivered_as_it_comes(client: Client) -> None:
    fill(client, 3)
    begin(client)
    assert read(client.publish("", "s", b"new")) == [(3, b"new")]
    assert read(client.publish("", "s", b"newer")) == [(4, b"newer")]


def test_an_offset_that_does_not_exist_yet_is_waited_for(client: Client) -> None:
    begin(client, stream_offset=long(2))
    came = [offsets(client.publish("", "s", b"%d" % number)) for number in range(4)]
    assert came == [[], [], [2], [3]]


def test_a_time_is_found_among_the_clocks_of_the_messages(world: World, client: Client) -> None:
    for number in range(4):
        client.publish("", "s", b"%d" % number)
        world.wait(60_000)
    seconds = world.wall // 1000 + 90
    assert offsets(begin(client, "at", stream_offset=Field("T", seconds))) == [2, 3]
    assert offsets(begin(client, "ago", stream_offset=longstr("61s"))) == [3]
    assert offsets(begin(client, "long ago", stream_offset=longstr("1Y"))) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("offset", "printed"),
    [
        (longstr("soon"), '{longstr,<<"soon">>}'),
        (longstr("3"), '{longstr,<<"3">>}'),
        (longstr("0h"), '{longstr,<<"0h">>}'),
        (Field("t", True), "{bool,true}"),
    ],
)
def test_an_offset_that_is_none(client: Client, offset: Field, printed: str) -> None:
    (close,) = begin(client, stream_offset=offset)
    assert close.reply_text == (
        f"PRECONDITION_FAILED - invalid arg 'x-stream-offset' for {Q}: {{invalid_stream_offset_arg,{printed}}}"
    )


def test_a_prefetch_count_and_acks_are_required(world: World) -> None:
    (close,) = begin(ready(world, 0))
    assert (close.reply_code, close.reply_text) == (
        406,
        f"PRECONDITION_FAILED - consumer prefetch count is not set for stream {Q}",
    )
    (close,) = ready(world).consume("s", no_ack=True)
    assert close.reply_text == f"NOT_IMPLEMENTED - automatic acknowledgement not supported by stream {Q}"


def test_the_offset_is_put_beside_the_headers_of_the_publisher(client: Client) -> None:
    begin(client)
    frames = client.publish(
        "", "s", b"x", headers={"a": "b", "x-stream-offset": "mine"}, content_type="text/plain", message_id="m"
    )
    properties = frames[1].properties
    assert properties.headers == {"a": "b", "x-stream-offset": 0}
    assert (properties.content_type, properties.message_id) == ("text/plain", "m")
    frames = client.publish("", "s", b"", content_type="text/plain", delivery_mode=2)
    assert frames[1].properties.headers == {"x-stream-offset": 1}
    assert (frames[1].properties.content_type, frames[1].properties.delivery_mode) == ("text/plain", 2)


def test_a_large_message_comes_in_its_frames(client: Client) -> None:
    begin(client)
    payload = b"z" * 300_000
    client.send(split_publish(1, "s", payload, 100_000))
    frames = client.frames()
    assert frames[1].properties.headers == {"x-stream-offset": 0}
    assert b"".join(frames[2:]) == payload


# ----------------------------------------------------------------------------------------------------- credit


def test_nothing_is_taken_out_and_everyone_reads_for_himself(world: World, client: Client) -> None:
    fill(client, 500)
    other = ready(world, 1000)
    assert offsets(begin(other, "all", stream_offset=longstr("first"))) == list(range(500))
    assert offsets(begin(other, "half", stream_offset=long(250))) == list(range(250, 500))
    assert client.declare("s", durable=True, arguments=STREAM).message_count == 500


@pytest.mark.parametrize("settle", ["ack", "nack", "reject", "requeue"])
def test_settling_gives_credit_and_nothing_else(world: World, settle: str) -> None:
    client = ready(world, 2)
    fill(client, 7)
    frames = begin(client, stream_offset=longstr("first"))
    assert offsets(frames) == [0, 1]
    found = []
    for tag in range(1, 6):
        if settle == "ack":
            frames = client.method(1, C.Basic.Ack, delivery_tag=tag)
        elif settle == "reject":
            frames = client.method(1, C.Basic.Reject, delivery_tag=tag, requeue=False)
        else:
            frames = client.method(1, C.Basic.Nack, delivery_tag=tag, requeue=settle == "requeue")
        found += offsets(frames)
    assert found == [2, 3, 4, 5, 6]
    assert client.method(1, C.Basic.Ack, delivery_tag=0, multiple=True) == []
    assert world.queue("s").ready == 7


def test_one_that_does_not_ack_stops_no_other(world: World) -> None:
    slow, fast = ready(world, 1), ready(world, 1000)
    fill(slow, 300)
    assert offsets(begin(slow, stream_offset=longstr("first"))) == [0]
    assert offsets(begin(fast, stream_offset=longstr("first"))) == list(range(300))
    assert offsets(slow.method(1, C.Basic.Ack, delivery_tag=1)) == [1]


def test_one_that_does_not_read_its_socket_stops_no_other(world: World) -> None:
    stuck, fast = ready(world), ready(world, 1000)
    stuck.session.pause_writing()
    begin(stuck)
    begin(fast)
    assert [offsets(fast.publish("", "s", b"x")) for _ in range(50)] == [[number] for number in range(50)]
    stuck.session.resume_writing()
    world.run()
    assert offsets(stuck.frames()) == list(range(50))


def test_one_that_waits_for_the_disk_stops_no_other(world: World) -> None:
    behind, ahead = ready(world), ready(world)
    fill(behind, 10)
    world.streams.at_once = False
    assert offsets(begin(behind, stream_offset=longstr("first"))) == []
    begin(ahead)
    assert offsets(ahead.publish("", "s", b"x")) == [10]
    world.streams.read_all()
    world.run()
    found = offsets(behind.frames())
    while world.streams.reading:
        world.streams.read_all()
        world.run()
        found += offsets(behind.frames())
    assert found == list(range(11))


def test_memory_is_bounded_by_two_blocks_for_each_consumer(world: World) -> None:
    client = ready(world, 10)
    world.streams.block = 50
    fill(client, 1000)
    begin(client, stream_offset=longstr("first"))
    (cursor,) = world.queue("s").cursors.values()
    assert len(cursor.block) == 50 and cursor.ahead is None and not cursor.reading
    for tag in range(1, 30):
        client.method(1, C.Basic.Ack, delivery_tag=tag)
    assert len(cursor.block) == 50 and cursor.ahead is not None and len(cursor.ahead.messages) == 50
    assert not cursor.reading


def test_the_ledger_keeps_no_contents(world: World, client: Client) -> None:
    begin(client)
    client.publish("", "s", b"x" * 1000)
    (channel,) = client.session.channels.values()
    assert [message[2] for run in channel.ledger.runs for message in run.messages] == [b""]


def test_a_consumer_that_fell_out_of_the_tail_goes_on_without_a_gap(world: World) -> None:
    client, publisher = ready(world, 2), ready(world)
    world.streams.block = 3
    begin(client)
    payload = b"y" * 60_000
    for _ in range(60):
        publisher.publish("", "s", payload)
    queue = world.queue("s")
    assert len(queue.tail) < 60
    found, tag = offsets(client.frames()), 1
    while len(found) < 60:
        found += offsets(client.method(1, C.Basic.Ack, delivery_tag=tag))
        tag += 1
    assert found == list(range(60))


def test_a_cancelled_consumer_gets_nothing_more(world: World, client: Client) -> None:
    begin(client)
    client.method(1, C.Basic.Cancel, consumer_tag="c")
    assert client.publish("", "s", b"x") == []
    assert world.queue("s").tail == []


def test_consumers_are_told_when_the_stream_is_deleted(world: World, client: Client) -> None:
    begin(client)
    other = ready(world)
    fill(other, 3)
    assert other.method(1, C.Queue.Delete, queue="s")[0].message_count == 3
    assert isinstance(client.frames()[-1], C.Basic.Cancel)
    other.declare("s", durable=True, arguments=STREAM)
    assert offsets(begin(other, stream_offset=longstr("first"))) == []


# ---------------------------------------------------------------------------------------------------- filters


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        ({"x-stream-filter": longstr("a")}, [0, 4]),
        ({"x-stream-filter": Field("A", [longstr("a"), longstr("b")])}, [0, 1, 4]),
        ({"x-stream-filter": longstr("a"), "x-stream-match-unfiltered": Field("t", True)}, [0, 2, 3, 4]),
        ({"x-stream-filter": longstr("z")}, []),
        ({"x-stream-match-unfiltered": Field("t", True)}, [0, 1, 2, 3, 4]),
    ],
)
def test_filters(client: Client, arguments: dict[str, Field], found: list[int]) -> None:
    for value in ("a", "b", None, 7, "a"):
        client.publish("", "s", b"x", headers={} if value is None else {"x-stream-filter-value": value})
    arguments = {"x-stream-offset": longstr("first"), **arguments}
    assert offsets(client.consume("s", arguments=arguments)) == found


def test_what_a_filter_passes_over_costs_no_credit(world: World) -> None:
    client = ready(world, 1)
    fill(client, 400, headers={"x-stream-filter-value": "no"})
    client.publish("", "s", b"x", headers={"x-stream-filter-value": "yes"})
    arguments = {"x-stream-offset": longstr("first"), "x-stream-filter": longstr("yes")}
    assert offsets(client.consume("s", arguments=arguments)) == [400]


# --------------------------------------------------------------------------------------------------- tracking

TRACKED = {"x-stream-automatic-offset-tracking": Field("t", True)}


def tracked(client: Client, tag: str, **more: Field) -> list[int]:
    return offsets(client.consume("s", tag, arguments={**TRACKED, **more}))


def test_a_tracked_consumer_goes_on_behind_what_it_acked(world: World, client: Client) -> None:
    fill(client, 6)
    assert tracked(client, "t") == [0, 1, 2, 3, 4, 5]
    client.method(1, C.Basic.Ack, delivery_tag=3, multiple=True)
    client.lose()
    client = ready(world)
    assert tracked(client, "t", **{"x-stream-offset": longstr("first")}) == [3, 4, 5]
    assert tracked(client, "another") == [0, 1, 2, 3, 4, 5]


def test_a_void_offset_asks_for_tracking_too(world: World, client: Client) -> None:
    fill(client, 3)
    arguments = {"x-stream-offset": Field("V", None)}
    assert offsets(client.consume("s", "t", arguments=arguments)) == [0, 1, 2]
    client.method(1, C.Basic.Ack, delivery_tag=2, multiple=True)
    client.lose()
    assert offsets(ready(world).consume("s", "t", arguments=arguments)) == [2]


def test_the_position_stays_before_what_is_not_acked(world: World, client: Client) -> None:
    fill(client, 6)
    tracked(client, "t")
    for tag in (1, 3, 4):
        client.method(1, C.Basic.Ack, delivery_tag=tag)
    client.method(1, C.Basic.Nack, delivery_tag=2, requeue=True)
    client.lose()
    assert tracked(ready(world), "t") == [1, 2, 3, 4, 5]


def test_what_is_rejected_for_good_counts_as_acked(world: World, client: Client) -> None:
    fill(client, 3)
    tracked(client, "t")
    client.method(1, C.Basic.Nack, delivery_tag=2, multiple=True, requeue=False)
    client.lose()
    assert tracked(ready(world), "t") == [2]


def test_positions_are_kept_over_a_restart(world: World, client: Client) -> None:
    fill(client, 6)
    tracked(client, "t")
    client.method(1, C.Basic.Ack, delivery_tag=2, multiple=True)
    world.wait(1_000)
    client.method(1, C.Basic.Ack, delivery_tag=4, multiple=True)
    after = world.restart(crash=True)
    assert tracked(ready(after), "t") == [2, 3, 4, 5], "the last second of a crash is forgotten"
    after = after.restart()
    assert tracked(ready(after), "t") == [2, 3, 4, 5]


def test_who_does_not_ask_for_it_is_not_tracked(world: World, client: Client) -> None:
    fill(client, 2)
    begin(client, stream_offset=longstr("first"))
    client.method(1, C.Basic.Ack, delivery_tag=2, multiple=True)
    client.lose()
    assert world.queue("s").positions == {}
    assert offsets(begin(ready(world))) == []


# --------------------------------------------------------------------------------------------------- retention


def test_limits_cut_the_head_and_consumers_go_on_at_what_is_left(world: World) -> None:
    client = world.connect()
    client.open()
    client.method(1, C.Basic.Qos, prefetch_count=2)
    client.declare("s", durable=True, arguments={**STREAM, "x-max-age": "1m"})
    fill(client, 3)
    assert offsets(begin(client, stream_offset=longstr("first"))) == [0, 1]
    world.wait(61_000)
    fill(client, 2, 3)
    assert world.queue("s").ready == 2
    assert offsets(client.method(1, C.Basic.Ack, delivery_tag=2, multiple=True)) == [3, 4]
    assert client.declare("s", durable=True, arguments={**STREAM, "x-max-age": "1m"}).message_count == 2


def test_what_was_read_before_it_was_cut_off_is_not_delivered(world: World, client: Client) -> None:
    fill(client, 10)
    world.streams.at_once = False
    begin(client, stream_offset=longstr("first"))
    log = world.streams.logs[world.queue("s").id]
    log.keep(None, 150, None)
    assert 0 < log.first < 10
    fill(client, 1, 10)
    found = []
    while world.streams.reading:
        world.streams.read_all()
        world.run()
        found += offsets(client.frames())
    assert found == list(range(log.first, 11))


def test_a_policy_limits_a_stream_that_is_there(world: World, client: Client) -> None:
    fill(client, 10)
    policy = {"pattern": "^s$", "apply-to": "streams", "priority": 0, "definition": {"max-length-bytes": 200}}
    world.broker.vhosts["/"].put_parameter("policy", "limit", policy)
    world.broker.vhosts["/"].apply_policies(world.queue("s"))
    left = world.queue("s").ready
    assert 0 < left < 10
    assert offsets(begin(client, stream_offset=longstr("first"))) == list(range(10 - left, 10))


# ---------------------------------------------------------------------------------------------- commits, restart


def held(world: World, client: Client) -> tuple[Any, Any]:
    """Have neither log commit by itself: the stream's engine and the shared one."""
    engine = world.streams.logs[world.queue("s").id].engine
    engine.at_once = False
    world.engine.at_once = False
    return engine, world.engine


def test_a_message_is_seen_and_confirmed_when_it_is_durable(world: World, client: Client) -> None:
    client.method(1, C.Confirm.Select)
    begin(client)
    engine, _ = held(world, client)
    assert client.publish("", "s", b"x") == [], "persistent or not"
    assert world.queue("s").ready == 0
    engine.commit()
    world.run()
    assert world.queue("s").pending == [], "nothing is held any longer than it has to be"
    frames = client.frames()
    assert offsets(frames) == [0]
    assert [frame.delivery_tag for frame in frames if isinstance(frame, C.Basic.Ack)] == [1]


@pytest.mark.parametrize("stream_first", [True, False])
def test_a_confirm_waits_for_both_logs(world: World, client: Client, stream_first: bool) -> None:
    client.declare("q", durable=True)
    for queue in ("s", "q"):
        client.method(1, C.Queue.Bind, queue=queue, exchange="amq.fanout")
    client.method(1, C.Confirm.Select)
    engines = held(world, client)
    client.publish("amq.fanout", "", b"one", delivery_mode=2)
    client.publish("amq.fanout", "", b"two", delivery_mode=2)
    first, second = engines if stream_first else engines[::-1]
    for _ in range(3):
        first.commit()
        world.run()
    assert client.frames() == []
    second.commit()
    world.run()
    second.commit()
    world.run()
    assert [frame.delivery_tag for frame in client.frames()] in ([2], [1, 2])
    assert len(world.folded()["q"]) == 2


def test_a_transient_message_to_both_waits_for_the_stream_only(world: World, client: Client) -> None:
    client.declare("q", durable=True)
    for queue in ("s", "q"):
        client.method(1, C.Queue.Bind, queue=queue, exchange="amq.fanout")
    client.method(1, C.Confirm.Select)
    engine, _ = held(world, client)
    assert client.publish("amq.fanout", "", b"one") == []
    engine.commit()
    world.run()
    assert [frame.delivery_tag for frame in client.frames()] == [1]
    assert world.folded()["q"] == []


@pytest.mark.parametrize("exchange", ["", "amq.fanout"])
def test_who_publishes_faster_than_the_disk_is_not_read_for_a_while(
    world: World, client: Client, exchange: str
) -> None:
    client.declare("q", durable=True)
    for queue in ("s", "q"):
        client.method(1, C.Queue.Bind, queue=queue, exchange="amq.fanout")
    engine, shared = held(world, client)
    publish = client.publish_bytes(1, exchange, "s", b"x" * 60_000, delivery_mode=2)
    for _ in range(40):
        client.send(publish)
    assert not client.reading
    for _ in range(3):
        engine.commit()
        world.run()
    assert client.reading is (exchange == ""), "the shared journal is behind too"
    for _ in range(3):
        shared.commit()
        world.run()
    assert client.reading


def test_a_transaction_waits_for_the_stream_too(world: World, client: Client) -> None:
    client.method(1, C.Tx.Select)
    engine, _ = held(world, client)
    client.publish("", "s", b"x")
    assert client.method(1, C.Tx.Commit) == []
    engine.commit()
    world.run()
    assert isinstance(client.frames()[0], C.Tx.CommitOk)


@pytest.mark.parametrize("crash", [False, True])
def test_offsets_go_on_after_a_restart(world: World, client: Client, crash: bool) -> None:
    fill(client, 3)
    if crash:
        held(world, client)
        client.publish("", "s", b"lost")
    world.engine.at_once = True
    world = world.restart(crash=crash)
    client = ready(world)
    assert read(begin(client, stream_offset=long(1))) == [(1, b"1"), (2, b"2")]
    assert read(client.publish("", "s", b"new")) == [(3, b"new")]


def test_a_damaged_stream_refuses_and_can_be_deleted(world: World, client: Client) -> None:
    client.declare("q", durable=True)
    for queue in ("s", "q"):
        client.method(1, C.Queue.Bind, queue=queue, exchange="amq.fanout")
    world.streams.logs[world.queue("s").id].damaged = True
    world = world.restart()
    client = ready(world)
    client.method(1, C.Confirm.Select)
    assert [type(frame) for frame in client.publish("amq.fanout", "", b"x", delivery_mode=2)] == [C.Basic.Nack]
    assert world.queue("q").ready == 1
    (close,) = begin(client)
    assert close.reply_text == (f"PRECONDITION_FAILED - stream {Q} does not have a running replica on the local node")
    client = world.connect()
    client.open()
    client.method(1, C.Queue.Delete, queue="s")
    world.streams.logs.clear()
    fill(ready(world), 2)
    assert world.queue("s").ready == 2


def test_tags_that_the_broker_gives_are_not_tracked(world: World, client: Client) -> None:
    fill(client, 2)
    assert tracked(client, "") == []


def test_streams_are_no_part_of_the_shared_journal(world: World, client: Client) -> None:
    fill(client, 3, delivery_mode=2)
    assert world.folded()["s"] == []


def test_dead_letters_may_go_into_a_stream(world: World, client: Client) -> None:
    arguments = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "s", "x-max-length": 0}
    client.declare("d", durable=True, arguments=arguments)
    begin(client)
    frames = client.publish("", "d", b"dead", delivery_mode=2)
    assert read(frames) == [(0, b"dead")]
    assert "x-death" in frames[1].properties.headers


# ------------------------------------------------------------------------------------------------------ anything

ACK_ALL = methods.encode(1, C.Basic.Ack(delivery_tag=0, multiple=True))
FROM_FIRST = from_json({"x-stream-offset": "first"})
CONSUME = methods.encode(1, methods.build(C.Basic.Consume, queue="s", consumer_tag="c", arguments=FROM_FIRST))
STEPS = ["publish", "publish", "commit", "commit", "read", "read", "ack", "ack", "consume", "pause", "resume"]


@pytest.mark.parametrize("seed", range(60))
def test_every_consumer_gets_every_message_once_and_in_order(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    chance = random.Random(seed)
    monkeypatch.setattr(stream, "TAIL_OCTETS", chance.choice([100, 500, 2000]))
    world = World()
    publisher = ready(world)
    world.streams.block = chance.randint(1, 8)
    engine, _ = held(world, publisher)
    world.streams.at_once = False
    consumers: list[Client] = []
    published = 0

    def finish() -> None:
        engine.commit()
        world.run()
        world.streams.read_all()
        world.run()

    steps = [*STEPS, *chance.choices(STEPS, k=30)]
    for _ in range(400):
        step = chance.choice(steps)
        if step == "publish":
            for _ in range(chance.randint(1, 4)):
                publisher.send(Client.publish_bytes(1, "", "s", b"x"))
                published += 1
        elif step == "commit":
            engine.commit()
        elif step == "read":
            world.streams.read_all()
        elif step == "consume" and len(consumers) < 8:
            consumers.append(ready(world, chance.randint(1, 30)))
            consumers[-1].send(CONSUME)
        elif consumers:
            client = chance.choice(consumers)
            if step == "ack":
                client.send(ACK_ALL)
            elif step == "pause":
                client.session.pause_writing()
            else:
                client.session.resume_writing()
        world.run()
    for _ in range(published):
        finish()
        for client in consumers:
            client.session.resume_writing()
            client.send(ACK_ALL)
    for client in consumers:
        assert offsets(client.frames()) == list(range(published))
