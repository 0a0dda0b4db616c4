"""aio-pika: the patterns that its users build on, and its robust connection across restarts of the broker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import aio_pika
import pytest
from aio_pika import DeliveryMode, ExchangeType, Message
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage, AbstractQueue
from aio_pika.exceptions import (
    AMQPConnectionError,
    ChannelClosed,
    ChannelNotFoundEntity,
    ChannelPreconditionFailed,
    DeliveryError,
    QueueEmpty,
)
from aio_pika.patterns import RPC, Master
from aiormq.exceptions import ChannelAccessRefused, ChannelLockedResource

from interop.harness import Broker, OwnBroker

DEADLINE = 20.0


def play(story: Callable[[], Awaitable[None]], limit: float = 60.0) -> None:
    """Run one asynchronous test with a deadline."""

    async def limited() -> None:
        async with asyncio.timeout(limit):
            await story()

    asyncio.run(limited())


async def until(condition: Callable[[], bool], what: str) -> None:
    """Wait for a condition, with a deadline."""
    try:
        async with asyncio.timeout(DEADLINE):
            while not condition():
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"waited {DEADLINE:g} s in vain for {what}") from None


@asynccontextmanager
async def opened(broker: Broker, **options: Any) -> AsyncIterator[AbstractChannel]:
    """A channel on a connection of its own."""
    async with await aio_pika.connect(broker.url) as connection:
        yield await connection.channel(**options)


async def exclusive(channel: AbstractChannel, **options: Any) -> AbstractQueue:
    """A queue that goes with the connection."""
    return await channel.declare_queue(exclusive=True, **options)


async def ignore(_message: AbstractIncomingMessage) -> None:
    """A consumer that is only there to be counted."""


async def ready(channel: AbstractChannel, queue: AbstractQueue) -> int:
    """How many messages wait in the queue."""
    result = await channel.declare_queue(queue.name, passive=True)
    return result.declaration_result.message_count or 0


def test_confirms_and_mandatory_returns(broker: Broker) -> None:
    async def story() -> None:
        async with opened(broker, publisher_confirms=True, on_return_raises=True) as channel:
            queue = await exclusive(channel)
            sent = [channel.default_exchange.publish(Message(b"%d" % n), queue.name) for n in range(100)]
            await asyncio.gather(*sent)
            assert await ready(channel, queue) == 100
            with pytest.raises(DeliveryError) as caught:
                await channel.default_exchange.publish(Message(b"back"), "no-such-queue", mandatory=True)
            returned = caught.value.message.delivery
            assert (returned.reply_code, returned.reply_text) == (312, "NO_ROUTE")
            await channel.default_exchange.publish(Message(b"gone"), "no-such-queue", mandatory=False)

    play(story)


def test_properties_come_through(broker: Broker) -> None:
    async def story() -> None:
        async with opened(broker) as channel:
            queue = await exclusive(channel)
            sent = Message(
                b"body",
                headers={"a": 1, "b": "two", "c": {"d": [1, 2.5, None, True]}},
                content_type="text/plain",
                delivery_mode=DeliveryMode.PERSISTENT,
                priority=4,
                correlation_id="c",
                reply_to="r",
                expiration=30,
                message_id="m",
                type="t",
                app_id="a",
            )
            await channel.default_exchange.publish(sent, queue.name)
            got = await queue.get(no_ack=True)
            assert got.body == b"body"
            for name in ("headers", "content_type", "delivery_mode", "priority", "correlation_id", "reply_to"):
                assert getattr(got, name) == getattr(sent, name), name
            for name in ("expiration", "message_id", "type", "app_id"):
                assert getattr(got, name) == getattr(sent, name), name

    play(story)


def test_rpc(broker: Broker) -> None:
    """Calls, an exception that travels back, and calls under way at the same time."""

    async def multiply(*, x: int, y: int) -> int:
        return x * y

    async def fail() -> None:
        raise ValueError("as asked")

    async def story() -> None:
        async with opened(broker) as serving, opened(broker) as calling:
            server = await RPC.create(serving)
            await server.register("interop-multiply", multiply, auto_delete=True)
            await server.register("interop-fail", fail, auto_delete=True)
            client = await RPC.create(calling)
            calls = [client.call("interop-multiply", {"x": n, "y": 3}) for n in range(50)]
            assert await asyncio.gather(*calls) == [3 * n for n in range(50)]
            with pytest.raises(ValueError, match="as asked"):
                await client.call("interop-fail")
            await client.close()
            await server.close()

    play(story)


def test_master_and_worker(broker: Broker, unique: str) -> None:
    async def story() -> None:
        done: list[int] = []

        async def work(*, number: int) -> None:
            done.append(number)

        async with opened(broker) as channel:
            await channel.set_qos(prefetch_count=1)
            master = Master(channel)
            worker = await master.create_worker(unique, work, auto_delete=True)
            for number in range(20):
                await master.create_task(unique, {"number": number})
            await until(lambda: len(done) == 20, "all tasks")
            assert done == list(range(20))
            await worker.close()

    play(story)


def test_transactions(broker: Broker) -> None:
    async def story() -> None:
        async with opened(broker, publisher_confirms=False) as channel:
            queue = await exclusive(channel)
            async with channel.transaction():
                await channel.default_exchange.publish(Message(b"kept"), queue.name)
                assert await ready(channel, queue) == 0
            assert await ready(channel, queue) == 1
            with pytest.raises(ZeroDivisionError):
                async with channel.transaction():
                    await channel.default_exchange.publish(Message(b"dropped"), queue.name)
                    raise ZeroDivisionError
            assert await ready(channel, queue) == 1

    play(story)


def test_exclusive_and_auto_delete_queues_go(broker: Broker, unique: str) -> None:
    async def story() -> None:
        async with opened(broker) as watching:
            async with opened(broker) as channel:
                mine = await exclusive(channel, name=f"{unique}-mine")
                shared = await channel.declare_queue(f"{unique}-shared", auto_delete=True)
                with pytest.raises(ChannelLockedResource):
                    await watching.declare_queue(mine.name, passive=True)
                await watching.reopen()
                tag = await shared.consume(ignore)
                assert (await watching.declare_queue(shared.name, passive=True)).declaration_result.consumer_count == 1
                await shared.cancel(tag)
                with pytest.raises(ChannelNotFoundEntity):
                    await watching.declare_queue(shared.name, passive=True)
                await watching.reopen()
            with pytest.raises(ChannelNotFoundEntity):
                await watching.declare_queue(mine.name, passive=True)

    play(story)


async def routed(
    broker: Broker, name: str, kind: ExchangeType, binding: dict[str, Any], messages: dict[bytes, dict[str, Any]]
) -> list[bytes]:
    """The bodies that reach a queue bound to a new exchange. Each message: its routing key and its headers."""
    async with opened(broker) as channel:
        exchange = await channel.declare_exchange(name, kind, auto_delete=True)
        queue = await exclusive(channel)
        await queue.bind(exchange, **binding)
        for body, facts in messages.items():
            await exchange.publish(Message(body, headers=facts.get("headers")), facts.get("key", ""), mandatory=False)
        return [(await queue.get(no_ack=True)).body for _ in range(await ready(channel, queue))]


def test_topic_exchange(broker: Broker, unique: str) -> None:
    async def story() -> None:
        messages = {b"1": {"key": "eu.de.berlin"}, b"2": {"key": "eu.de"}, b"3": {"key": "us.de"}, b"4": {"key": "eu"}}
        assert await routed(broker, unique, ExchangeType.TOPIC, {"routing_key": "eu.#"}, messages) == [b"1", b"2", b"4"]
        assert await routed(broker, unique, ExchangeType.TOPIC, {"routing_key": "*.de"}, messages) == [b"2", b"3"]

    play(story)


def test_headers_exchange(broker: Broker, unique: str) -> None:
    async def story() -> None:
        binding = {"routing_key": "", "arguments": {"x-match": "any", "kind": "a", "size": 2}}
        messages = {b"1": {"headers": {"kind": "a"}}, b"2": {"headers": {"kind": "b"}}, b"3": {"headers": {"size": 2}}}
        assert await routed(broker, unique, ExchangeType.HEADERS, binding, messages) == [b"1", b"3"]

    play(story)


def test_exchange_to_exchange_bindings(broker: Broker, unique: str) -> None:
    async def story() -> None:
        async with opened(broker) as channel:
            first = await channel.declare_exchange(f"{unique}-1", ExchangeType.FANOUT, auto_delete=True)
            second = await channel.declare_exchange(f"{unique}-2", ExchangeType.DIRECT, auto_delete=True)
            queue = await exclusive(channel)
            await queue.bind(second, "key")
            await second.bind(first)
            await first.publish(Message(b"through"), "key")
            assert (await queue.get(no_ack=True)).body == b"through"
            await second.unbind(first)

    play(story)


def test_qos_and_requeue(broker: Broker) -> None:
    async def story() -> None:
        async with opened(broker) as channel:
            await channel.set_qos(prefetch_count=3)
            queue = await exclusive(channel)
            got: list[AbstractIncomingMessage] = []

            async def hold(message: AbstractIncomingMessage) -> None:
                got.append(message)

            for number in range(6):
                await channel.default_exchange.publish(Message(b"%d" % number), queue.name)
            tag = await queue.consume(hold)
            await until(lambda: len(got) == 3, "as many messages as the prefetch allows")
            assert await ready(channel, queue) == 3
            await queue.cancel(tag)
            await got[1].nack(requeue=True)
            await got[0].ack()
            await got[2].reject(requeue=False)
            back = await queue.get()
            assert (back.body, back.redelivered) == (b"1", True)
            await back.ack()
            assert [(await queue.get(no_ack=True)).body for _ in range(3)] == [b"3", b"4", b"5"]
            with pytest.raises(QueueEmpty):
                await queue.get()

    play(story)


def test_errors_by_code(broker: Broker, unique: str) -> None:
    async def story() -> None:
        async with await aio_pika.connect(broker.url) as connection:

            async def refused(error: type[ChannelClosed], act: Callable[[AbstractChannel], Awaitable[Any]]) -> None:
                channel = await connection.channel()
                with pytest.raises(error):
                    await act(channel)
                assert channel.is_closed

            keeper = await connection.channel()
            await keeper.declare_queue(unique, exclusive=True)
            await refused(ChannelNotFoundEntity, lambda c: c.declare_queue("no-such-queue", passive=True))
            await refused(ChannelNotFoundEntity, lambda c: c.declare_exchange("no-such-exchange", passive=True))
            changed = {"x-max-length": 5}
            await refused(
                ChannelPreconditionFailed, lambda c: c.declare_queue(unique, exclusive=True, arguments=changed)
            )
            await refused(ChannelPreconditionFailed, lambda c: c.declare_exchange("amq.topic", ExchangeType.FANOUT))
            await refused(ChannelAccessRefused, lambda c: c.declare_queue("amq.mine"))
            async with opened(broker) as other:
                with pytest.raises(ChannelLockedResource):
                    await other.declare_queue(unique, passive=True)

    play(story)


def test_a_wrong_password_is_refused(broker: Broker) -> None:
    async def story() -> None:
        with pytest.raises(AMQPConnectionError):
            await aio_pika.connect(f"amqp://guest:wrong@{broker.host}:{broker.port}/")

    play(story)


@pytest.mark.parametrize("crash", [False, True], ids=["stopped", "killed"])
def test_a_robust_connection_survives_a_restart(own_broker: OwnBroker, crash: bool) -> None:
    """Its consumers come back by themselves, durable messages are delivered, and publishing goes on."""

    async def story() -> None:
        connection = await aio_pika.connect_robust(own_broker.url, reconnect_interval=0.1, fail_fast=False)
        async with connection:
            reconnected = asyncio.Event()
            connection.reconnect_callbacks.add(lambda *_: reconnected.set(), weak=False)
            channel = await connection.channel()
            await channel.set_qos(prefetch_count=10)
            exchange = await channel.declare_exchange("events", ExchangeType.TOPIC, durable=True)
            durable = await channel.declare_queue("durable", durable=True)
            temporary = await channel.declare_queue("temporary", auto_delete=True)
            parked = await channel.declare_queue("parked", durable=True)
            for queue in (durable, temporary):
                await queue.bind(exchange, "event.#")
            got: dict[str, list[bytes]] = {"durable": [], "temporary": []}

            def collect(name: str) -> Callable[[AbstractIncomingMessage], Awaitable[None]]:
                async def on_message(message: AbstractIncomingMessage) -> None:
                    async with message.process():
                        got[name].append(message.body)

                return on_message

            await durable.consume(collect("durable"))
            await temporary.consume(collect("temporary"))
            persistent = Message(b"before", delivery_mode=DeliveryMode.PERSISTENT)
            await exchange.publish(persistent, "event.1")
            await channel.default_exchange.publish(persistent, parked.name)
            await until(lambda: all(got.values()), "the messages before the restart")

            await asyncio.to_thread(own_broker.restart, crash=crash)
            async with asyncio.timeout(DEADLINE):
                await reconnected.wait()
            await channel.ready()
            await exchange.publish(Message(b"after", delivery_mode=DeliveryMode.PERSISTENT), "event.2")
            await until(lambda: all(bodies[-1] == b"after" for bodies in got.values()), "the messages after it")
            kept = await parked.get()
            assert kept.body == b"before"
            assert kept.redelivered is crash
            await kept.ack()

    play(story)


def test_a_robust_publisher_loses_nothing_over_a_crash(own_broker: OwnBroker) -> None:
    """Every message whose publish returned is there afterwards, however the crash fell."""

    async def story() -> None:
        confirmed: list[int] = []

        async def publish(channel: AbstractChannel) -> None:
            number = 0
            while True:
                try:
                    message = Message(b"%d" % number, delivery_mode=DeliveryMode.PERSISTENT)
                    await channel.default_exchange.publish(message, "log", timeout=1)
                except Exception:
                    await asyncio.sleep(0.05)
                    continue
                confirmed.append(number)
                number += 1

        connection = await aio_pika.connect_robust(own_broker.url, reconnect_interval=0.1, fail_fast=False)
        async with connection:
            channel = await connection.channel(publisher_confirms=True)
            await channel.declare_queue("log", durable=True)
            publisher = asyncio.create_task(publish(channel))
            await until(lambda: len(confirmed) > 200, "the first messages")
            await asyncio.to_thread(own_broker.restart, crash=True)
            count = len(confirmed)
            await until(lambda: len(confirmed) > count + 100, "messages after the crash")
            publisher.cancel()
            await asyncio.gather(publisher, return_exceptions=True)
        found = []
        async with opened(own_broker) as reading:
            queue = await reading.declare_queue("log", passive=True)
            while message := await queue.get(no_ack=True, fail=False):
                found.append(int(message.body))
        assert set(confirmed) <= set(found)
        first = list(dict.fromkeys(found))
        assert first == sorted(first)

    play(story)
