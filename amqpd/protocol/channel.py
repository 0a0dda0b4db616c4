"""A channel: the conversation within a connection that publishes, consumes and settles.

It puts together contents (method, header, bodies), parks while an operation waits for a commit, keeps the ledger of
unsettled deliveries, and takes part in dispatch as the place where consumers live. The methods themselves are in
`protocol/methods`, what a publish does in `protocol/publishing`.

Parked: an operation that cannot be answered at once (a durable declare, tx.commit) holds back the later frames of its
channel, in order, and of no other; deliveries and heartbeats go on.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from amqpd.core import deadletter, operations
from amqpd.core.message import Message
from amqpd.core.operations import Done
from amqpd.core.queues.consumer import UNLIMITED, Consumer, Deliver
from amqpd.core.queues.counts import acquired, failed
from amqpd.core.queues.ledger import Ledger, Run
from amqpd.core.queues.reply import ReplyTarget
from amqpd.errors import AmqpError, FrameError, UnexpectedFrame
from amqpd.protocol import describe, patience, publishing, tracing
from amqpd.protocol.confirms import Confirms
from amqpd.protocol.publishing import Take
from amqpd.protocol.states import ChannelState, check_channel
from amqpd.wire import express, framing, methods, outgoing
from amqpd.wire.methods import commands

if TYPE_CHECKING:
    from amqpd.protocol.methods.tx import Transaction
    from amqpd.protocol.session import Session

__all__ = ["Channel", "Content"]

T = TypeVar("T")

BODY_MAX = 512 << 20
"""RabbitMQ's own limit of a body, whatever max_message_size says."""

BASIC = 60


class Content:
    """A publish that is coming in frame by frame."""

    __slots__ = ("arguments", "body_size", "frames", "largest", "method", "missing", "props")

    def __init__(self, method: Any, arguments: bytes) -> None:
        self.method = method
        self.arguments = arguments
        self.props: bytes | None = None
        self.body_size = 0
        self.missing = 0
        self.frames: list[bytes] = []
        self.largest = 0


class Channel:
    """One channel of a session."""

    def __init__(self, session: Session, number: int) -> None:
        # Fixed
        self.session = session
        self.number = number
        assert session.vhost is not None
        self.broker = session.broker
        self.vhost = session.vhost
        self.plans = session.plans
        self.actor = session.actor
        self.user = session.user
        self.connection_name = session.name
        # State
        self.state = ChannelState.OPEN
        self.content: Content | None = None
        self.parked: deque[tuple[int, bytes]] | None = None
        self.parked_octets = 0
        self.lane = True
        """May the express lane be tried? Not while a content is coming in, the channel is parked, or in tx mode."""
        # Consuming
        self.ledger = Ledger()
        self.consumers: dict[str, Consumer] = {}
        self.prefetch = 0
        self.global_prefetch = 0
        self.reply: ReplyTarget | None = None
        self.last_queue: str | None = None
        # Publishing
        self.confirms: Confirms | None = None
        self.transaction: Transaction | None = None
        self.take: Take = tracing.publish if self.vhost.row.tracing else publishing.deliver
        """What is done with a publish that has been checked and routed."""
        self.cost = 0
        """Work units of what the lane took last."""
        self.broker.emit("channel.created", describe.created_channel(self))

    # ------------------------------------------------------------------------------------------ frames in

    def frame(self, kind: int, payload: bytes) -> None:
        """A complete frame of this channel."""
        if self.parked is not None:
            self.park(kind, payload)
        elif self.state is ChannelState.CLOSING:
            self.frame_closing(kind, payload)
        elif kind == framing.METHOD:
            self.method_frame(payload)
        elif self.content is None:
            raise UnexpectedFrame("expected method frame, got non method frame instead", (0, 0))
        elif kind == framing.HEADER:
            self.header_frame(self.content, payload)
        else:
            self.body_frame(self.content, payload)

    def method_frame(self, payload: bytes) -> None:
        content = self.content
        if content is not None:
            wanted = "header for class 60" if content.props is None else "body"
            got = "header" if content.props is None else "body"
            raise UnexpectedFrame(f"expected content {wanted}, got non content {got} frame instead", (0, 0))
        method = methods.decode(payload)
        if isinstance(method, commands.Basic.Publish):
            self.content = Content(method, payload[4:])
            self.lane = False
            return
        check_channel(method)
        self.session.handle(self, method)

    def header_frame(self, content: Content, payload: bytes) -> None:
        if content.props is not None:
            raise UnexpectedFrame("expected content body, got non content body frame instead", (0, 0))
        if len(payload) < 14:
            raise FrameError("content header too short", (0, 0))
        class_id = int.from_bytes(payload[:2], "big")
        if class_id != BASIC:
            raise UnexpectedFrame(f"expected content header for class 60, got one for class {class_id} instead", (0, 0))
        size = int.from_bytes(payload[4:12], "big")
        if size > BODY_MAX:
            raise FrameError(f"content body size {size} exceeds maximum allowed size {BODY_MAX}", (0, 0))
        content.props = payload[12:]
        content.body_size = content.missing = size
        self.take_frame(content, framing.HEADER, payload)

    def body_frame(self, content: Content, payload: bytes) -> None:
        if content.props is None:
            raise UnexpectedFrame("expected content header for class 60, got non content header frame instead", (0, 0))
        if len(payload) > content.missing:
            raise FrameError("content body frame exceeds remaining content size", (0, 0))
        content.missing -= len(payload)
        if payload:
            self.take_frame(content, framing.BODY, payload)

    def take_frame(self, content: Content, kind: int, payload: bytes) -> None:
        # A body that will be refused for its size is counted, not kept.
        if content.body_size <= self.session.settings.max_message_size:
            content.frames.append(framing.frame(kind, self.number, payload))
            content.largest = max(content.largest, len(payload) + framing.OVERHEAD)
        if not content.missing:
            self.content = None
            self.lane = self.transaction is None
            self.session.handle_content(self, content)

    def frame_closing(self, kind: int, payload: bytes) -> None:
        """After the server's channel.close everything but the answer is dropped."""
        if kind != framing.METHOD:
            return
        if payload[:4] == CLOSE_OK:
            self.session.channel_gone(self)
        elif payload[:4] == CLOSE:
            # Both closes have crossed: the client's answer to ours is still to come.
            self.session.send_method(self.number, methods.build(commands.Channel.CloseOk))

    # -------------------------------------------------------------------------------------------- waiting

    def perform(self, operation: Callable[[Done[T]], None], reply: Callable[[T], None], method: Any) -> None:
        """Run an operation and reply with its result, parking the channel if the answer comes later."""
        waiting = answered = False

        def done(outcome: T | AmqpError) -> None:
            nonlocal answered
            answered = True
            if not waiting:
                if isinstance(outcome, AmqpError):
                    raise outcome
                reply(outcome)
                return
            if self.state is ChannelState.OPEN and self.session.running:
                if isinstance(outcome, AmqpError):
                    self.session.failed(outcome, self, method)
                else:
                    reply(outcome)
                self.unpark()

        operation(done)
        if not answered:
            waiting = True
            self.parked = deque()
            self.lane = False

    def park(self, kind: int, payload: bytes) -> None:
        assert self.parked is not None
        self.parked.append((kind, payload))
        self.parked_octets += len(payload)
        self.session.throttle.parked(len(payload))

    def unpark(self) -> None:
        """Go on with the frames that came while the channel was parked."""
        frames, self.parked = self.parked, None
        self.lane = self.transaction is None and self.content is None
        self.session.throttle.parked(-self.parked_octets)
        self.parked_octets = 0
        while frames:
            kind, payload = frames.popleft()
            self.session.channel_frame(self, kind, payload)
            if self.parked is not None:
                for later in frames:
                    self.park(*later)
                return

    # ---------------------------------------------------------------------------------------- deliveries

    def room(self, no_ack: bool) -> int:
        """How many deliveries the channel can take now (see ConsumerChannel)."""
        if self.session.outbox.congested:
            self.session.outbox.starved = True
            return 0
        if self.global_prefetch and not no_ack:
            return self.global_prefetch - self.ledger.unacked
        return UNLIMITED

    def serve(self, consumer: Consumer) -> None:
        """Give the consumer its deliver function."""
        deliver = self.deliverer(consumer.tag, None if consumer.no_ack else consumer)
        consumer.deliver = tracing.deliverer(self, consumer, deliver) if self.vhost.row.tracing else deliver

    def trace(self) -> None:
        """The firehose has been turned on or off."""
        self.take = tracing.publish if self.vhost.row.tracing else publishing.deliver
        for consumer in self.consumers.values():
            self.serve(consumer)

    def deliverer(self, tag: str, consumer: Consumer | None) -> Deliver:
        """The deliver function of a consumer, with all that is the same for each of its deliveries worked out.

        `tag` is the consumer's; None for `consumer` stands for deliveries that need no ack.
        """
        outbox, ledger, frame_max = self.session.outbox, self.ledger, self.session.frame_max
        number, limit, append = self.number, frame_max or 0xFFFFFFFF, outbox.pieces.append
        frame_of = outgoing.deliver_packer(number, tag)
        add, skip = ledger.add, ledger.skip
        queue = consumer.queue if consumer is not None else None

        def deliver(messages: list[Message], redelivered: bool, count: int) -> int:
            delivery_tag = add(queue, consumer, messages, count) if queue is not None else skip(len(messages))
            if count and queue is not None and queue.counting:
                messages = [deadletter.redelivered(messages[0], acquired(count), failed(count))]
            octets = rebuilt = 0
            last_routing = last_origin = None
            for _, routing, content, origin, _ in messages:
                if routing is not last_routing:
                    pack, head, tail = frame_of(routing, redelivered)
                    last_routing = routing
                append(pack(head, delivery_tag, tail))
                delivery_tag += 1
                if origin is not last_origin:
                    fits = origin & 0xFFFF == number and origin >> 16 <= limit
                    last_origin = origin
                if fits and type(content) is bytes:
                    append(content)
                    octets += len(content)
                else:
                    rebuilt += outbox.send_content(content, origin, number, frame_max)
            outbox.octets += octets
            if not outbox.touched:
                outbox.touch()
            return octets + rebuilt

        return deliver

    def express_settle(self, data: bytes, start: int) -> int:
        """The lane's ack, and the acks of the following tags behind it: where the next frame starts, 0 to have the
        general road look at it."""
        tag, bits, end = express.unpack_ack(data, start + 11)
        if end != framing.FRAME_END or bits > 1:
            return 0
        ledger = self.ledger
        if bits:
            upto = start + express.ACK_FRAME
            try:
                runs = ledger.take(tag, True)
            except AmqpError:
                return 0
        else:
            last, upto = express.acks(data, start, tag)
            spanned = ledger.take_span(tag, last)
            if spanned is None:
                upto = start + express.ACK_FRAME
                try:
                    runs = ledger.take(tag, False)
                except AmqpError:
                    return 0
            else:
                runs = spanned
        self.cost = 1 + self.settle(runs)
        return upto

    def settle(self, runs: list[Run]) -> int:
        """The client has acked; how many deliveries."""
        count = 0
        for run in runs:
            run.queue.settle(run)
            count += len(run.messages)
        self.give_room(runs)
        return count

    def reject(self, runs: list[Run]) -> None:
        """The client will not have these, and nobody else shall."""
        for run in runs:
            run.queue.reject(run)
        self.give_room(runs)

    def requeue(self, runs: list[Run], *, failed: bool) -> None:
        """The deliveries go back to their queues; a failure is what counts against a delivery limit."""
        for run in runs:
            run.queue.requeue(run, failed)
        self.give_room(runs)

    def give_room(self, runs: list[Run]) -> None:
        if self.global_prefetch:
            self.unpark_consumers()
            return
        for run in runs:
            consumer = run.consumer
            if consumer is not None and consumer.parked:
                consumer.queue.room_again(consumer)

    def unpark_consumers(self) -> None:
        """All consumers of this channel may have room again."""
        for consumer in self.consumers.values():
            if consumer.parked:
                consumer.queue.room_again(consumer)

    def promises_changed(self, consumer: Consumer) -> None:
        """The consumer's queue promises something else from now on."""
        patience.watch(self, consumer)

    def consumer_cancelled(self, consumer: Consumer) -> None:
        """The broker has taken the consumer off its queue; the client is told if it understands that."""
        if self.consumers.get(consumer.tag) is not consumer:
            return
        del self.consumers[consumer.tag]
        if self.session.capable("consumer_cancel_notify"):
            self.session.send_method(
                self.number, methods.build(commands.Basic.Cancel, consumer_tag=consumer.tag, nowait=True)
            )

    def end_replies(self) -> None:
        """The direct reply-to consumer, if there is one, is over."""
        if self.reply is not None:
            del self.broker.replies[self.reply.name]
            self.reply.close()
            self.reply = None

    # ------------------------------------------------------------------------------------------ the end

    def close(self) -> None:
        """The channel is over: its consumers go, what it has not settled goes back to the queues."""
        self.lane = False
        self.content = None
        if self.parked is not None:
            self.session.throttle.parked(-self.parked_octets)
            self.parked = None
            self.parked_octets = 0
        consumers = list(self.consumers.values())
        self.consumers.clear()
        self.end_replies()
        if self.confirms is not None:
            self.confirms.closed = True
        if self.transaction is not None:
            self.transaction.rollback()
        # Consumers first, so that nothing that is requeued comes back to where it came from.
        for consumer in consumers:
            operations.cancel_consumer(self.broker, self.vhost, consumer)
        self.requeue(self.ledger.take(0, True), failed=True)
        self.broker.emit("channel.closed", describe.created_channel(self))


CLOSE = b"\x00\x14\x00\x28"
CLOSE_OK = b"\x00\x14\x00\x29"
