"""The express lane changes nothing but the cost: random conversations, cut anywhere, with the lane on and off."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pamqp import commands

from amqpd.core.queues import reply
from amqpd.protocol.channel import Channel
from amqpd.protocol.session import Session
from amqpd.wire import framing, methods
from tests.support.world import WALL, Client, World

C = commands

KEYS = st.sampled_from(["q", "d", "nowhere", "a.b", ""])
EXCHANGES = st.sampled_from(["", "amq.fanout", "amq.topic", "amq.headers", "late", "gone"])
PROPERTIES = st.sampled_from(
    [
        {},
        {"delivery_mode": 2},
        {"headers": {"x": 1}, "delivery_mode": 2},
        {"headers": {"CC": ["d"], "BCC": ["q"]}},
        {"headers": {"x-deliver-at": WALL + 60_000}, "delivery_mode": 2},
        {"headers": {"x-deliver-at": WALL - 1}},
        {"headers": {"x-delay": 60_000}, "delivery_mode": 2},
        {"expiration": "60000"},
        {"user_id": "guest"},
        {"reply_to": "amq.rabbitmq.reply-to", "correlation_id": "7"},
        {"reply_to": "amq.rabbitmq.reply-to", "delivery_mode": 2, "message_id": "amq.rabbitmq.reply-to"},
        {"expiration": "never"},
        {"message_id": "m", "correlation_id": "c", "priority": 4},
    ]
)


@st.composite
def publishes(draw: st.DrawFn) -> bytes:
    """A publish on channel 1 or 2; sometimes with a body in two frames, or another frame in between."""
    number = draw(st.sampled_from([1, 1, 1, 2]))
    payload = draw(st.binary(max_size=40))
    data = Client.publish_bytes(
        number, draw(EXCHANGES), draw(KEYS), payload, mandatory=draw(st.booleans()), **draw(PROPERTIES)
    )
    if len(payload) > 1 and draw(st.integers(0, 4)) == 0:
        whole = framing.frame(3, number, payload)
        split = framing.frame(3, number, payload[:1]) + framing.frame(3, number, payload[1:])
        data = data.replace(whole, split)
    return data


@st.composite
def others(draw: st.DrawFn) -> bytes:
    """A settle, a get, a declare, or something that is an error."""
    number = draw(st.sampled_from([1, 2]))
    tag = draw(st.integers(0, 12))
    multiple = draw(st.booleans())
    method: Any = draw(
        st.sampled_from(
            [
                methods.build(C.Basic.Ack, delivery_tag=tag, multiple=multiple),
                methods.build(C.Basic.Ack, delivery_tag=tag, multiple=multiple),
                methods.build(C.Basic.Nack, delivery_tag=tag, multiple=multiple, requeue=True),
                methods.build(C.Basic.Get, queue="q"),
                methods.build(C.Queue.Purge, queue="d"),
                methods.build(C.Queue.Bind, queue="q", exchange="amq.fanout"),
                methods.build(C.Queue.Unbind, queue="q", exchange="amq.fanout"),
                methods.build(C.Queue.Delete, queue="d"),
                methods.build(C.Queue.Declare, queue="d", durable=True),
                methods.build(C.Channel.CloseOk),
                methods.build(C.Channel.Open),
            ]
        )
    )
    return methods.encode(number, method)


@st.composite
def runs(draw: st.DrawFn) -> bytes:
    """What the lane takes at a stroke: publishes that are alike, or nearly, and acks of tags that follow each other."""
    number = draw(st.sampled_from([1, 2]))
    if draw(st.booleans()):
        first, count = draw(st.integers(1, 6)), draw(st.integers(1, 6))
        tags = [*range(first, first + count), *draw(st.lists(st.integers(0, 9), max_size=2))]
        return b"".join(methods.encode(number, methods.build(C.Basic.Ack, delivery_tag=tag)) for tag in tags)
    key, sizes = draw(st.sampled_from(["q", "d"])), draw(st.lists(st.integers(0, 2), min_size=2, max_size=6))
    modes = draw(st.lists(st.sampled_from([{}, {}, {"delivery_mode": 2}]), min_size=len(sizes), max_size=len(sizes)))
    return b"".join(
        Client.publish_bytes(number, "", key, b"%d" % n * size, **mode)
        for n, (size, mode) in enumerate(zip(sizes, modes, strict=True))
    )


def converse(world: World, chunks: list[bytes]) -> tuple[bytes, list[Any]]:
    """What a client gets for these bytes, and what the broker is left with."""
    client = world.connect()
    for number in (1, 2):
        client.open(number)
    client.declare("q")
    client.declare("d", durable=True)
    for key in ("q", "d", "q", "d"):
        client.publish("", key, b"known")
    client.method(1, C.Basic.Qos, prefetch_count=3)
    client.consume("d", "c")
    client.consume("amq.rabbitmq.reply-to", "r", no_ack=True)
    client.method(2, C.Confirm.Select)
    arguments = {"x-delayed-type": "direct"}
    client.method(1, C.Exchange.Declare, exchange="late", exchange_type="x-delayed-message", arguments=arguments)
    for exchange, key in (("amq.topic", "a.*"), ("amq.headers", ""), ("late", "q")):
        client.method(1, C.Queue.Bind, queue="q", exchange=exchange, routing_key=key)
    client.received = b""
    for chunk in chunks:
        client.send(chunk)
    state = [
        (queue.name, [m[1:3] for m in queue.window], [(c, m[1:3]) for _, c, m in sorted(queue.returned)], queue.unacked)
        for queue in world.broker.vhosts["/"].queues.values()
    ]
    delayed = [[waiting[2:4] for waiting in delays] for delays in world.broker.vhosts["/"].delays.values()]
    return client.received, [state, delayed, len(world.delayed()), list(map(len, world.folded().values()))]


def cut(data: bytes, at: list[int]) -> list[bytes]:
    edges = [0, *sorted({position % (len(data) + 1) for position in at}), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(edges)]


def no_lane(self: Session, channel: Channel, data: bytes, start: int, end: int) -> int:
    """The lane that always declines."""
    return 0


@settings(max_examples=250, deadline=None)
@given(
    st.lists(st.one_of(publishes(), publishes(), runs(), runs(), others()), min_size=1, max_size=25),
    st.lists(st.integers(0, 5000), max_size=6),
)
def test_the_lane_is_only_faster(conversation: list[bytes], at: list[int]) -> None:
    chunks = cut(b"".join(conversation), at)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reply, "token_urlsafe", lambda octets: "name")
        with_lane = converse(World(), chunks)
        patch.setattr(Session, "try_lane", no_lane)
        without_lane = converse(World(), chunks)
    assert with_lane == without_lane


def test_the_lane_is_taken(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison is about something: plain publishes and acks do go by the lane once their plan is known."""
    taken: list[bool] = []
    lane = Session.try_lane

    def watched(self: Session, channel: Channel, data: bytes, start: int, end: int) -> int:
        position = lane(self, channel, data, start, end)
        taken.append(position > 0)
        return position

    client = world.connect()
    client.open()
    client.declare("q")
    client.publish("", "q", b"first")
    client.publish("", "q", b"second")
    monkeypatch.setattr(Session, "try_lane", watched)
    client.publish("", "q", b"body", headers={"a": 1})
    client.publish("", "q", b"", delivery_mode=2)
    client.consume("q")
    client.send(methods.encode(1, methods.build(C.Basic.Ack, delivery_tag=4, multiple=True)))
    assert taken == [True, True, False, True]
    assert world.queue("q").unacked == 0
