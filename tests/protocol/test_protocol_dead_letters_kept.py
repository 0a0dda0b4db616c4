"""Dead letters of every size, and over restarts: each is kept, and kept once (semantics 3.4)."""

from __future__ import annotations

from itertools import pairwise

import pytest
from pamqp import commands

from amqpd.storage.memory import MemoryEngine
from tests.support.dead_letters import bound, fill, left, refuse, reopen, source, with_dead_letters
from tests.support.received import drain, get, messages, split_publish
from tests.support.world import Client, World

C = commands


@pytest.fixture
def client(world: World) -> Client:
    """A client with channel 1 open, a fanout exchange `dlx`, and a queue `dead` bound to it."""
    return with_dead_letters(world)


# --------------------------------------------------------------------------------------------- of what size


@pytest.mark.parametrize("size", [0, 1, 4096, 65535, 65536, 65537, 131064, 131065, 300_000, 1_500_000])
@pytest.mark.parametrize("split", [1000, 131064])
def test_bodies_of_every_size(world: World, size: int, split: int) -> None:
    client = reopen(world)
    client.declare("dead", durable=True)
    source(client, dlx="", key="dead")
    payload = bytes(range(256)) * (size // 256 + 1)
    payload = payload[:size]
    client.send(split_publish(1, "q", payload, split, delivery_mode=2, correlation_id="kept"))
    refuse(client)
    world = world.restart(crash=True)
    (letter,) = drain(reopen(world), "dead")
    assert letter.body == payload
    assert letter.properties.correlation_id == "kept"
    assert letter.deaths == [("q", "rejected", 1)]


def test_bodies_for_a_client_with_smaller_frames(world: World, client: Client) -> None:
    source(client)
    client.send(client.publish_bytes(1, "", "q", b"x" * 100_000))
    refuse(client)
    small = world.connect(frame_max=4096)
    small.open()
    frames = small.method(1, C.Basic.Get, queue="dead", no_ack=True)
    assert max(len(item) for item in frames if isinstance(item, bytes)) <= 4088
    assert messages(frames)[0].body == b"x" * 100_000


# ------------------------------------------------------------------------------------------------- restarts


def chain(client: Client, length: int, ttl: int) -> list[str]:
    """Queues that hand a message on when it expires; the last keeps it."""
    names = [f"chain.{number}" for number in range(length)]
    client.declare(names[-1], durable=True)
    for name, following in pairwise(names):
        source(client, name, dlx="", key=following, message_ttl=ttl)
    return names


@pytest.mark.parametrize("crash", [False, True])
def test_a_chain_of_fifty_queues_with_a_restart_at_each(world: World, client: Client, crash: bool) -> None:
    names = chain(client, 50, 10)
    client.publish("", names[0], b"x", delivery_mode=2)
    client.publish("", names[0], b"transient", delivery_mode=1)
    for at in range(50):
        world = world.restart(crash=crash)
        assert [name for name in names if world.queue(name).ready] == [names[at]]
        assert world.queue(names[at]).ready == 1
        world.wait(10)
    (letter,) = drain(reopen(world), names[-1])
    assert letter.deaths == [(name, "expired", 1) for name in reversed(names[:-1])]


@pytest.mark.parametrize("crash", [False, True])
def test_a_chain_of_fifty_queues_in_one_turn(world: World, client: Client, crash: bool) -> None:
    names = chain(client, 50, 0)
    client.send(b"".join(client.publish_bytes(1, "", names[0], b"%d" % n, delivery_mode=2) for n in range(5)))
    world = world.restart(crash=crash)
    assert [name for name in names if world.queue(name).ready] == [names[-1]]
    letters = drain(reopen(world), names[-1])
    assert [letter.body for letter in letters] == [b"%d" % number for number in range(5)]
    assert all(len(letter.deaths) == 49 for letter in letters)


@pytest.mark.parametrize("committed", [False, True])
@pytest.mark.parametrize("reason", ["rejected", "expired", "maxlen"])
def test_a_crash_finds_a_message_here_or_there_and_never_both(committed: bool, reason: str) -> None:
    """Leaving one queue and arriving in the other are one step of the log."""
    engine = MemoryEngine(at_once=False)
    world = World(engine)
    client = reopen(world)
    client.declare("dead", durable=True)
    source(client, dlx="", key="dead", message_ttl=1000, max_length=2)

    def settle() -> None:
        for _ in range(5):
            engine.commit()
            world.run()

    fill(client, 2, delivery_mode=2)
    settle()
    if reason == "rejected":
        get(client, "q")
        client.method(1, C.Basic.Reject, delivery_tag=1, requeue=False)
    elif reason == "expired":
        world.wait(1000)
    else:
        client.publish("", "q", b"2", delivery_mode=1)
    if committed:
        settle()
    engine.pending = None
    world = World(engine, world.catalog)
    client = reopen(world)
    here, there = left(client, "q"), left(client)
    assert sorted(here + there) == [b"0", b"1"]
    moved = {"rejected": [b"0"], "expired": [b"0", b"1"], "maxlen": [b"0"]}[reason]
    assert there == (moved if committed else [])


@pytest.mark.parametrize("crash", [False, True])
def test_a_persistent_letter_survives_and_the_others_do_not(world: World, client: Client, crash: bool) -> None:
    source(client)
    bound(client, "second", "dlx")
    client.declare("transient")
    client.method(1, C.Queue.Bind, queue="transient", exchange="dlx")
    client.publish("", "q", b"kept", delivery_mode=2)
    client.publish("", "q", b"lost", delivery_mode=1)
    client.publish("", "q", b"lost too")
    refuse(client, count=3)
    world = world.restart(crash=crash)
    client = reopen(world)
    for queue in ("dead", "second"):
        (letter,) = drain(client, queue)
        assert (letter.body, letter.properties.delivery_mode) == (b"kept", 2)
        assert (letter.deaths, letter.method.redelivered) == ([("q", "rejected", 1)], crash)
    assert world.queue("q").ready == 0


def test_a_transient_queue_hands_persistent_messages_on(world: World, client: Client) -> None:
    client.declare("q", arguments={"x-dead-letter-exchange": "dlx"})
    client.publish("", "q", b"x", delivery_mode=2)
    refuse(client)
    world = world.restart(crash=True)
    assert left(reopen(world)) == [b"x"]
