"""Dead letters: which messages become one, where they go, and that none is lost or doubled (semantics 3.4)."""

from __future__ import annotations

import pytest
from pamqp import commands

from tests.support.dead_letters import bound, exchange, fill, left, refuse, reopen, source, with_dead_letters
from tests.support.received import bodies, confirmed, drain, get
from tests.support.world import Client, World

C = commands


@pytest.fixture
def client(world: World) -> Client:
    """A client with channel 1 open, a fanout exchange `dlx`, and a queue `dead` bound to it."""
    return with_dead_letters(world)


# ------------------------------------------------------------------------------------------------ which do


@pytest.mark.parametrize("how", ["reject", "nack"])
@pytest.mark.parametrize("taken", ["get", "consume"])
def test_refused(world: World, client: Client, how: str, taken: str) -> None:
    source(client)
    fill(client, 1)
    if taken == "get":
        get(client, "q")
    else:
        client.consume("q")
    kind = C.Basic.Reject if how == "reject" else C.Basic.Nack
    assert client.method(1, kind, delivery_tag=1, requeue=False) == []
    (letter,) = drain(client, "dead")
    assert letter.deaths == [("q", "rejected", 1)]
    assert (world.queue("q").ready, world.queue("q").unacked) == (0, 0)


def test_expired(world: World, client: Client) -> None:
    source(client, message_ttl=100)
    fill(client, 3)
    world.wait(99)
    assert left(client) == []
    world.wait(1)
    letters = drain(client, "dead")
    assert [(letter.body, letter.deaths) for letter in letters] == [
        (b"%d" % number, [("q", "expired", 1)]) for number in range(3)
    ]


def test_too_many(client: Client) -> None:
    source(client, max_length=1)
    fill(client, 3)
    assert [(letter.body, letter.deaths) for letter in drain(client, "dead")] == [
        (b"%d" % number, [("q", "maxlen", 1)]) for number in range(2)
    ]


def test_too_many_bytes(client: Client) -> None:
    source(client, max_length_bytes=1)
    fill(client, 2)
    assert [letter.deaths for letter in drain(client, "dead")] == [[("q", "maxlen", 1)]]


def test_returned_too_often(client: Client) -> None:
    source(client, queue_type="quorum", delivery_limit=1)
    fill(client, 1)
    for _ in range(2):
        message = get(client, "q")
        assert message is not None
        client.method(1, C.Basic.Reject, delivery_tag=message.method.delivery_tag, requeue=True)
    assert [letter.deaths for letter in drain(client, "dead")] == [[("q", "delivery_limit", 1)]]


@pytest.mark.parametrize("how", ["requeue", "ack", "purge", "delete", "connection", "channel", "auto-delete"])
def test_what_makes_no_dead_letter(world: World, client: Client, how: str) -> None:
    source(client)
    fill(client, 2)
    holder = reopen(world)
    holder.method(1, C.Basic.Qos, prefetch_count=1)
    holder.consume("q")
    if how == "requeue":
        holder.method(1, C.Basic.Cancel, consumer_tag="c")
        holder.method(1, C.Basic.Reject, delivery_tag=1, requeue=True)
    elif how == "ack":
        holder.method(1, C.Basic.Ack, delivery_tag=1)
    elif how == "purge":
        client.method(1, C.Queue.Purge, queue="q")
    elif how == "delete":
        client.method(1, C.Queue.Delete, queue="q")
        # A reject of what was taken from a queue that is gone goes nowhere.
        holder.method(1, C.Basic.Reject, delivery_tag=1, requeue=False)
    elif how == "connection":
        holder.lose()
    elif how == "channel":
        holder.method(1, C.Channel.Close, reply_code=200, reply_text="", class_id=0, method_id=0)
    else:
        arguments = {"x-dead-letter-exchange": "dlx"}
        client.declare("auto", auto_delete=True, arguments=arguments)
        client.consume("auto")
        client.publish("", "auto")
        client.method(1, C.Basic.Cancel, consumer_tag="c")
    assert left(client) == []


def test_in_a_transaction_only_with_its_commit(client: Client) -> None:
    source(client)
    fill(client, 2)
    client.open(2)
    client.method(2, C.Tx.Select)
    client.consume("q", number=2)
    client.method(2, C.Basic.Reject, delivery_tag=1, requeue=False)
    assert left(client) == []
    client.method(2, C.Tx.Rollback)
    assert left(client) == []
    client.method(2, C.Basic.Reject, delivery_tag=2, requeue=False)
    client.method(2, C.Tx.Commit)
    assert left(client) == [b"1"]


# --------------------------------------------------------------------------------------------- in which order


@pytest.mark.parametrize("tag", [0, 100])
def test_many_at_once_keep_their_order(client: Client, tag: int) -> None:
    source(client)
    fill(client, 100)
    client.consume("q")
    client.method(1, C.Basic.Nack, delivery_tag=tag, multiple=True, requeue=False)
    assert left(client) == [b"%d" % number for number in range(100)]


def test_many_at_once_of_several_queues(client: Client) -> None:
    source(client, "a")
    source(client, "b")
    client.declare("plain")
    for name in ("a", "b", "plain"):
        client.consume(name, name)
    for number in range(9):
        client.publish("", ("a", "b", "plain")[number % 3], b"%d" % number)
    client.method(1, C.Basic.Nack, delivery_tag=8, multiple=True, requeue=False)
    letters = left(client)
    assert sorted(letters) == [b"0", b"1", b"3", b"4", b"6", b"7"]
    assert [letter for letter in letters if int(letter) % 3 == 0] == [b"0", b"3", b"6"]
    assert [letter for letter in letters if int(letter) % 3 == 1] == [b"1", b"4", b"7"]


def test_thousands(world: World, client: Client) -> None:
    source(client, message_ttl=10)
    fill(client, 3000)
    world.wait(10)
    assert left(client) == [b"%d" % number for number in range(3000)]


# -------------------------------------------------------------------------------------------------- whereto


def test_it_arrives_from_the_dead_letter_exchange_with_its_old_key(client: Client) -> None:
    source(client)
    fill(client, 1)
    refuse(client)
    (letter,) = drain(client, "dead")
    assert (letter.method.exchange, letter.method.routing_key, letter.method.redelivered) == ("dlx", "q", False)


def test_the_key_of_the_queue_replaces_that_of_the_message(client: Client) -> None:
    exchange(client, "direct", "direct")
    bound(client, "old", "direct", "q")
    bound(client, "new", "direct", "changed")
    source(client, dlx="direct", key="changed")
    fill(client, 1)
    refuse(client)
    (letter,) = drain(client, "new")
    assert (letter.method.exchange, letter.method.routing_key) == ("direct", "changed")
    assert left(client, "old") == []


def test_an_empty_key_is_a_key(client: Client) -> None:
    exchange(client, "direct", "direct")
    bound(client, "named", "direct", "q")
    bound(client, "empty", "direct", "")
    source(client, dlx="direct", key="")
    fill(client, 1)
    refuse(client)
    assert (left(client, "named"), left(client, "empty")) == ([], [b"0"])


def test_by_the_default_exchange(client: Client) -> None:
    source(client, dlx="", key="dead")
    fill(client, 1)
    refuse(client)
    (letter,) = drain(client, "dead")
    assert (letter.method.exchange, letter.method.routing_key) == ("", "dead")


def test_by_the_default_exchange_and_the_old_key(client: Client) -> None:
    """A message that came by another exchange goes to the queue named as its key."""
    source(client, dlx="")
    client.method(1, C.Queue.Bind, queue="q", exchange="amq.topic", routing_key="#")
    client.publish("amq.topic", "dead", b"x")
    refuse(client)
    assert left(client) == [b"x"]


def test_by_a_topic(client: Client) -> None:
    exchange(client, "topic", "topic")
    for queue, pattern in (("all", "#"), ("words", "failed.*"), ("other", "done.#")):
        bound(client, queue, "topic", pattern)
    source(client, dlx="topic", key="failed.q")
    fill(client, 1)
    refuse(client)
    assert [left(client, queue) for queue in ("all", "words", "other")] == [[b"0"], [b"0"], []]


def test_by_headers(client: Client) -> None:
    exchange(client, "headers", "headers")
    bound(client, "red", "headers", arguments={"x-match": "all", "colour": "red"})
    bound(client, "blue", "headers", arguments={"x-match": "all", "colour": "blue"})
    bound(client, "why", "headers", arguments={"x-match": "all-with-x", "x-first-death-reason": "rejected"})
    source(client, dlx="headers")
    fill(client, 1, headers={"colour": "red"})
    refuse(client)
    assert [left(client, queue) for queue in ("red", "blue", "why")] == [[b"0"], [], [b"0"]]


def test_by_an_internal_exchange_and_one_bound_to_it(client: Client) -> None:
    exchange(client, "inside", "fanout", internal=True)
    exchange(client, "next", "topic")
    client.method(1, C.Exchange.Bind, source="inside", destination="next", routing_key="")
    bound(client, "far", "next", "q")
    source(client, dlx="inside")
    fill(client, 1)
    refuse(client)
    (letter,) = drain(client, "far")
    assert letter.method.exchange == "inside"


def test_by_an_alternate_exchange(client: Client) -> None:
    exchange(client, "picky", "direct", arguments={"alternate-exchange": "dlx"})
    source(client, dlx="picky")
    fill(client, 1)
    refuse(client)
    (letter,) = drain(client, "dead")
    assert (letter.method.exchange, letter.method.routing_key) == ("picky", "q")


def test_to_several_queues_once_each(client: Client) -> None:
    bound(client, "second", "dlx")
    client.method(1, C.Queue.Bind, queue="dead", exchange="dlx", routing_key="again")
    source(client)
    fill(client, 2)
    refuse(client, count=2)
    assert (left(client), left(client, "second")) == ([b"0", b"1"], [b"0", b"1"])


@pytest.mark.parametrize("dlx", ["absent", "amq.direct"])
def test_to_nowhere(world: World, client: Client, dlx: str) -> None:
    """No such exchange, or nothing bound: the message is gone, as if it had been acked."""
    source(client, dlx=dlx)
    fill(client, 1, delivery_mode=2)
    refuse(client)
    assert (world.queue("q").ready, world.queue("q").unacked) == (0, 0)
    assert world.folded().get("q", []) == []


def test_the_exchange_may_come_later_and_go_and_come(client: Client) -> None:
    source(client, dlx="later")
    fill(client, 3)
    refuse(client)
    for number in (1, 2):
        exchange(client, "later", "fanout")
        client.method(1, C.Queue.Bind, queue="dead", exchange="later")
        refuse(client)
        assert left(client) == [b"%d" % number]
        client.method(1, C.Exchange.Delete, exchange="later")


def test_to_a_queue_that_is_full(client: Client) -> None:
    """At most once: what the target refuses is lost, and nobody is told."""
    client.declare("full", arguments={"x-max-length": 1, "x-overflow": "reject-publish"})
    source(client, dlx="", key="full")
    fill(client, 3)
    refuse(client, count=3)
    assert left(client, "full") == [b"0"]


def test_to_a_queue_with_limits_of_its_own(client: Client) -> None:
    source(client, "middle", max_length=1)
    source(client, dlx="", key="middle")
    fill(client, 3)
    refuse(client, count=3)
    assert left(client, "middle") == [b"2"]
    assert [letter.deaths for letter in drain(client, "dead")] == [[("middle", "maxlen", 1), ("q", "rejected", 1)]] * 2


def test_to_a_consumer_in_the_same_turn(client: Client) -> None:
    source(client)
    client.open(2)
    client.consume("dead", number=2)
    fill(client, 1)
    get(client, "q")
    assert bodies(client.method(1, C.Basic.Reject, delivery_tag=1, requeue=False)) == [b"0"]


def test_to_a_queue_with_no_time_but_a_consumer(client: Client) -> None:
    client.declare("now", arguments={"x-message-ttl": 0})
    client.open(2)
    client.consume("now", number=2)
    source(client, dlx="", key="now")
    fill(client, 1)
    get(client, "q")
    assert bodies(client.method(1, C.Basic.Reject, delivery_tag=1, requeue=False)) == [b"0"]


def test_the_time_of_the_target_begins_with_the_arrival(world: World, client: Client) -> None:
    client.declare("brief", arguments={"x-message-ttl": 100})
    source(client, dlx="", key="brief", message_ttl=1000)
    fill(client, 1)
    world.wait(1099)
    assert world.queue("brief").ready == 1
    world.wait(1)
    assert world.queue("brief").ready == 0


# ----------------------------------------------------------------------------------------------- as whom


def test_the_declaration_asks_for_rights_and_the_dead_letter_does_not(world: World, client: Client) -> None:
    source(client)
    fill(client, 1)
    world.rights.refused = {("write", "dlx")}
    refuse(client)
    assert left(client) == [b"0"]
    frames = client.method(1, C.Queue.Declare, queue="r", arguments={"x-dead-letter-exchange": "dlx"})
    assert (
        frames[0].reply_text == "ACCESS_REFUSED - write access to exchange 'dlx' in vhost '/' refused for user 'guest'"
    )


def test_a_mandatory_message_is_not_returned_by_its_death(world: World, client: Client) -> None:
    source(client, dlx="absent", message_ttl=10)
    client.send(client.publish_bytes(1, "", "q", b"x", mandatory=True, user_id="guest"))
    world.wait(10)
    assert client.frames() == []


def test_the_publisher_is_told_of_the_first_queue_only(client: Client) -> None:
    client.declare("full", arguments={"x-max-length": 0, "x-overflow": "reject-publish"})
    source(client, dlx="", key="full", message_ttl=0)
    client.method(1, C.Confirm.Select)
    client.send(b"".join(client.publish_bytes(1, "", "q", b"x", delivery_mode=2) for _ in range(3)))
    assert confirmed(client.frames(), 3) == ([1, 2, 3], [])
