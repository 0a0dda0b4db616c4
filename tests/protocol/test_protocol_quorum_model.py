"""A quorum queue with all its promises at once, at random: after every step the journal holds what the queue does."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from pamqp import commands

from tests.support.received import get
from tests.support.world import Client, World

C = commands

QUEUE: dict[str, Any] = {
    "x-queue-type": "quorum",
    "x-dead-letter-exchange": "dlx",
    "x-dead-letter-strategy": "at-least-once",
    "x-overflow": "reject-publish",
    "x-delayed-retry-type": "all",
    "x-delayed-retry-min": 50,
    "x-delivery-limit": 2,
    "x-max-length": 20,
    "x-max-length-bytes": 60,
}


def reopen(world: World) -> Client:
    client = world.connect()
    client.open()
    return client


def settle(client: Client, chance: Random, tag: int) -> None:
    how = chance.choice(("ack", "reject", "nack", "refuse"))
    if how == "ack":
        client.method(1, C.Basic.Ack, delivery_tag=tag)
    else:
        kind = C.Basic.Nack if how == "nack" else C.Basic.Reject
        client.method(1, kind, delivery_tag=tag, requeue=how != "refuse")


def step(world: World, client: Client, chance: Random, taken: list[int]) -> None:
    """Something happens."""
    what = chance.random()
    if what < 0.3:
        expiration = chance.choice((None, None, "200"))
        payload = b"x" * chance.randrange(8)
        client.publish("", "q", payload, delivery_mode=2, priority=chance.randrange(40), expiration=expiration)
    elif what < 0.6:
        message = get(client, "q")
        if message is not None:
            taken.append(message.method.delivery_tag)
    elif what < 0.9 and taken:
        settle(client, chance, taken.pop(chance.randrange(len(taken))))
    elif what < 0.95:
        world.wait(chance.randrange(300))
    else:
        get(client, "dead", no_ack=True)


def check(world: World) -> None:
    """What the queue has, by where it lies, is what a restart would find; and so are its octets."""
    queue = world.queue("q")
    messages = [*(found[2] for found in queue.returned), *queue.window, *(found[0] for found in queue.stuck)]
    assert queue.weight == sum(int.from_bytes(message[2][11:19], "big") for message in messages)
    live = {message[0] for message in (*messages, *(found[3] for found in queue.held))}
    folded = world.folded()["q"]
    assert live <= set(folded)
    assert len(folded) == len(live) + queue.unacked


@pytest.mark.parametrize("seed", range(5))
def test_the_journal_says_what_the_queue_does(world: World, seed: int) -> None:
    chance, client, taken = Random(seed), reopen(world), list[int]()
    client.method(1, C.Exchange.Declare, exchange="dlx", exchange_type="fanout", durable=True)
    client.declare("q", durable=True, arguments=QUEUE)
    client.declare("dead", durable=True, arguments={"x-max-length": 3, "x-overflow": "reject-publish"})
    client.method(1, C.Queue.Bind, queue="dead", exchange="dlx")
    for number in range(1, 601):
        step(world, client, chance, taken)
        check(world)
        if number % 150 == 0:
            world = world.restart(crash=number % 300 == 0)
            client = reopen(world)
            taken.clear()
            check(world)
