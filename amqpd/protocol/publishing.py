"""What a publish does, on both roads: the lane's short way and the general one, with the same effect.

The order of the general road is RabbitMQ's, for it decides which error a message with several faults gets: size, write
permission, exchange, internal, reply-to, expiration, CC and BCC, user-id, routing. Then: enqueue in all target queues,
one journal record for the durable ones, return if mandatory and unroutable, confirm.

Source: RabbitMQ's rabbit_channel, handle_method(basic.publish).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeAlias

from amqpd.core.broker import NOT_REFUSED
from amqpd.core.delayed import is_scheduled
from amqpd.core.message import BLIND, PERSISTENT, SLICE_MAX, Message
from amqpd.core.plan import Plan, Target, durable_ids
from amqpd.core.queues.reply import REPLY_TO
from amqpd.core.routing import reaches
from amqpd.errors import FrameError, NoRoute, NotImplemented_, PreconditionFailed
from amqpd.wire import express as lane
from amqpd.wire import framing, outgoing, properties

if TYPE_CHECKING:
    from amqpd.protocol.channel import Channel, Content

__all__ = ["Take", "deliver", "express", "publish"]

Take: TypeAlias = (
    "Callable[[Channel, bool, bytes, Sequence[Target], Sequence[int], bool, outgoing.Content, int, int | None], bool]"
)
"""`deliver`, or what stands in its place."""

MANDATORY = 1
"""The bit in the last octet of basic.publish."""

BODY_LIMIT = 512 << 20

ASKS_DIRECTLY = outgoing.shortstr(REPLY_TO)

RUN_WORK = 2000
"""Work units (see session.ALLOWANCE) that a run of publishes may cost."""


def express(channel: Channel, data: bytes, start: int, method_end: int) -> int:
    """The lane: take the publish whose method frame lies at `start`, and those behind it that have the same arguments
    and persistence, as far as they lie whole in `data`. Where the next frame starts; 0 declines, and nothing is done.
    """
    if data[method_end - 1] != framing.FRAME_END:
        return 0
    plans, arguments = channel.plans, data[start + 11 : method_end - 1]
    plan = plans.known.get(arguments)
    if plan is None or plan.guard.epoch != plan.epoch:
        names = lane.names(arguments)
        plan = plans.try_find(arguments, *names) if names is not None else None
        if plan is None:
            return 0
    targets = plan.targets
    if targets is None:
        return 0
    work = len(targets) + 1
    messages, position = gather(channel, data, start, data[start:method_end], plan.routing, RUN_WORK // work + 1)
    if not messages:
        return 0
    broker = channel.broker
    broker.sequence += 2 * len(messages)
    commit, refused = broker.accept(messages, targets, plan.durable if messages[0][0] & PERSISTENT else ())
    if not targets and data[method_end - 2] & MANDATORY:
        for _, routing, content, origin, _ in messages:
            send_back(channel, routing, content, origin)
    if channel.confirms is not None:
        if refused:
            channel.confirms.partly_accepted([message[0] in refused for message in messages], commit)
        else:
            channel.confirms.accepted(len(messages), commit)
    if commit is not None and commit.weigh(len(messages), position - start):
        channel.session.throttle.rest(commit)
    channel.cost = len(messages) * work
    return position


def gather(
    channel: Channel, data: bytes, position: int, method: bytes, routing: bytes, most: int
) -> tuple[list[Message], int]:
    """The plain messages of one persistence that begin with this method frame, and where the next frame starts.

    What follows a message is first compared with it: method frame, content header and the head of the body frame are
    everything that decides what is done with a message, and most producers send them unchanged many times.
    """
    number, limit, head = channel.number, channel.session.lane_max, len(method)
    sequence, persistent = channel.broker.sequence, False
    messages: list[Message] = []
    append = messages.append
    while True:
        header = position + head
        found = lane.content(data, header, number, limit)
        if found is None:
            break
        header_end, content_end, body_size = found
        try:
            facts = properties.facts(data[header + 19 : header_end - 1])
        except FrameError:
            break
        if messages and facts.persistent is not persistent:
            break
        if not facts.plain:
            if not messages and channel.reply is not None:
                asked = request(channel.reply.name, data[header:content_end], header_end - header, facts)
                if asked is not None:
                    return [
                        (sequence + 2 | facts.persistent, routing, asked, number | len(asked) << 16, 0)
                    ], content_end
            break
        persistent = facts.persistent
        origin = number | max(header_end - header, content_end - header_end) << 16
        if content_end - header > SLICE_MAX:
            if not messages:
                # Two frames: a large content is never copied as a whole.
                frames = (data[header:header_end], data[header_end:content_end])
                return [(sequence + 2 | persistent, routing, frames, origin, 0)], content_end
            break
        sequence += 2
        append((sequence | persistent, routing, data[header:content_end], origin, 0))
        start, position = position, content_end
        if data.startswith(data[start : header_end + 7 if body_size else header_end], position):
            begins = data[header : header_end + 7 if body_size else header_end]
            octets = content_end - start
            for its_method, content in lane.alike(data, position, head, octets, most - len(messages)):
                if its_method != method or content[-1] != framing.FRAME_END or not content.startswith(begins):
                    break
                sequence += 2
                append((sequence | persistent, routing, content, origin, 0))
                position += octets
        if len(messages) >= most or not data.startswith(method, position):
            break
    return messages, position


def request(reply: str, content: bytes, header_end: int, facts: properties.Facts) -> bytes | None:
    """The content with the sender's own name for direct replies, where that is all that has to be done to it."""
    if facts.reply_to is None or facts.has_headers or facts.expiration is not None or facts.user_id is not None:
        return None
    if len(content) > SLICE_MAX - 255:
        return None
    at = content.find(ASKS_DIRECTLY, 0, header_end)
    if content.find(ASKS_DIRECTLY, at + 1, header_end) >= 0:
        return None
    name = outgoing.shortstr(reply)
    size = header_end - 8 + len(name) - len(ASKS_DIRECTLY)
    return b"".join((content[:3], size.to_bytes(4, "big"), content[7:at], name, content[at + len(ASKS_DIRECTLY) :]))


def publish(channel: Channel, content: Content) -> None:
    """The general road: a publish whose frames are all there."""
    session, method = channel.session, content.method
    if method.immediate:
        raise NotImplemented_("immediate=true")
    limit = session.settings.max_message_size
    if content.body_size > limit:
        size = content.body_size
        raise PreconditionFailed(
            f"message size {size} is larger than max size {limit}"
            if limit >= BODY_LIMIT
            else f"message size {size} is larger than configured max size {limit}"
        )
    plan = channel.plans.find(content.arguments, method.exchange, method.routing_key)
    assert content.props is not None
    facts = properties.facts(content.props)
    targets, durable, ttl, blind = plan.targets, plan.durable, None, 0
    if not facts.plain or targets is None:
        targets, ttl, blind = consider(channel, content, plan, facts)
        durable = durable_ids(targets)
    frames: outgoing.Content
    small = sum(map(len, content.frames)) <= SLICE_MAX
    frames = b"".join(content.frames) if small else tuple(content.frames)
    origin = channel.number | content.largest << 16 | blind
    if channel.transaction is not None:
        channel.transaction.publish(method.mandatory, plan, targets, facts.persistent, frames, origin, ttl)
    else:
        channel.take(channel, method.mandatory, plan.routing, targets, durable, facts.persistent, frames, origin, ttl)


def consider(
    channel: Channel, content: Content, plan: Plan, facts: properties.Facts
) -> tuple[Sequence[Target], int | None, int]:
    """A message that must be looked at more closely: its properties are checked, and rewritten where the broker does
    that, and its targets are found by more than its routing key. The targets, how long it is to live, and BLIND if it
    has a BCC."""
    props = content.props
    assert props is not None
    if facts.reply_to is not None:
        if channel.reply is None:
            raise PreconditionFailed("fast reply consumer does not exist")
        props = properties.rewrite(props, reply_to=channel.reply.name.encode())
    ttl = properties.expiration(facts.expiration) if facts.expiration is not None else None
    headers = properties.headers(props) if facts.has_headers else {}
    copies, blind_copies = properties.copies(headers)
    if facts.user_id is not None:
        check_user_id(channel, facts.user_id)
    turn = channel.broker.turn
    targets: Sequence[Target]
    if is_scheduled(headers, turn.now + turn.wall):
        if plan.exchange is not None:
            channel.plans.check_copies(plan.exchange, (*copies, *blind_copies))
        targets = (channel.broker.delays(channel.vhost, plan.exchange),)
    elif plan.targets is None or copies or blind_copies:
        targets = channel.plans.route(plan, (plan.key, *copies, *blind_copies), headers, props)
    else:
        targets = plan.targets
    if props is not content.props:
        replace_header(channel, content, props)
    return targets, ttl, BLIND if "BCC" in headers else 0


def check_user_id(channel: Channel, user_id: bytes) -> None:
    claimed = user_id.decode("utf-8", "replace")
    if claimed != channel.user and "impersonator" not in channel.session.tags:
        raise PreconditionFailed(f"user_id property set to '{claimed}' but authenticated user was '{channel.user}'")


def replace_header(channel: Channel, content: Content, props: bytes) -> None:
    head = b"\x00\x3c\x00\x00" + content.body_size.to_bytes(8, "big")
    content.frames[0] = framing.frame(framing.HEADER, channel.number, head + props)
    content.largest = max(content.largest, len(content.frames[0]))


def deliver(
    channel: Channel,
    mandatory: bool,
    routing: bytes,
    targets: Sequence[Target],
    durable: Sequence[int],
    persistent: bool,
    content: outgoing.Content,
    origin: int,
    ttl: int | None,
) -> bool:
    """Enqueue what has been checked and routed; return it if it must be routed and is not; confirm. Did all queues take
    it?"""
    commit, refused = None, NOT_REFUSED
    if targets:
        commit, refused = channel.broker.enqueue(targets, durable, persistent, routing, content, origin, ttl)
    if mandatory and not reaches(targets):
        send_back(channel, routing, content, origin)
    if channel.confirms is not None:
        if refused:
            channel.confirms.refused()
        else:
            channel.confirms.accepted(1, commit)
    if commit is not None:
        octets = len(content) if isinstance(content, bytes) else sum(map(len, content))
        if commit.weigh(1, octets):
            channel.session.throttle.rest(commit)
    return not refused


def send_back(channel: Channel, routing: bytes, content: outgoing.Content, origin: int) -> None:
    """Return what found no queue."""
    outbox = channel.session.outbox
    outbox.send(outgoing.returned(channel.number, NoRoute.code, NoRoute.constant, routing))
    outbox.send_content(content, origin, channel.number, channel.session.frame_max)
