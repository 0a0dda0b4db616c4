"""Policies: what one may say, which one counts, and what queues and exchanges make of it, live and after a restart."""

from __future__ import annotations

from typing import Any

import pytest
from pamqp import commands

from amqpd.core import operations
from amqpd.core.policy import OPERATOR_POLICY, POLICY, Applied, Policies, Policy, merge, read_policy
from amqpd.core.promises import Promises, work_out
from amqpd.errors import AmqpError, NotFound, PreconditionFailed
from amqpd.wire.tables import Field, from_json
from tests.support.world import World


def value(**changes: Any) -> dict[str, Any]:
    return {"pattern": "^a", "definition": {"max-length": 1}, "priority": 0, "apply-to": "all"} | {
        key.replace("_", "-"): item for key, item in changes.items()
    }


def policy(name: str, pattern: str = "", apply_to: str = "all", priority: int = 0, **definition: Any) -> Policy:
    return Policy(
        name, pattern, apply_to, {key.replace("_", "-"): item for key, item in definition.items()} or {"a": 1}, priority
    )


# ---------------------------------------------------------------------------------------------------- reading


def test_a_value_becomes_a_policy_and_back() -> None:
    found = read_policy(POLICY, "p", value(priority=7, apply_to="queues"))
    assert found == Policy("p", "^a", "queues", {"max-length": 1}, 7)
    assert read_policy(POLICY, "p", found.value()) == found


@pytest.mark.parametrize(
    ("component", "wrong", "text"),
    [
        (POLICY, value(definition={}), "no policy provided"),
        (POLICY, value(definition={"foo": "bar"}), '[{<<"foo">>,<<"bar">>}] are not recognised policy settings'),
        (POLICY, value(definition=[]), "definition must be a dictionary: []"),
        (POLICY, value(definition={"max-length": -1}), "-1 is not a valid maximum length"),
        (POLICY, value(definition={"message-ttl": "x"}), '<<"x">> is not a valid message TTL'),
        (POLICY, value(definition={"message-ttl": True}), "true is not a valid message TTL"),
        (POLICY, value(definition={"expires": 0}), "0 is not a valid queue expiry"),
        (POLICY, value(definition={"max-age": "5x"}), '<<"5x">> is not a valid max age'),
        (POLICY, value(definition={"overflow": "drop"}), '<<"drop">> is not a valid overflow value'),
        (POLICY, value(definition={"overflow": []}), "[] is not a valid overflow value"),
        (POLICY, value(definition={"alternate-exchange": 1}), "1 is not a valid alternate exchange name"),
        (
            POLICY,
            value(apply_to="x"),
            "apply-to 'x' unrecognised; should be one of: 'queues', 'classic_queues',  'quorum_queues', 'streams', "
            "'exchanges', or 'all'",
        ),
        (POLICY, value(priority="1"), 'priority should be a number, actually was <<"1">>'),
        (POLICY, value(pattern=1), "pattern should be a binary but was 1"),
        (POLICY, value(more=1), 'Unrecognised terms [{<<"more">>,1}] in p'),
        (POLICY, {"pattern": "", "priority": 0}, 'Key "definition" not found in p'),
        (POLICY, [], "p not a list []"),
        (
            OPERATOR_POLICY,
            value(definition={"dead-letter-exchange": "x"}),
            '[{<<"dead-letter-exchange">>,<<"x">>}] are not recognised policy settings',
        ),
    ],
)
def test_what_is_no_policy_is_refused_in_rabbitmqs_words(component: str, wrong: Any, text: str) -> None:
    with pytest.raises(PreconditionFailed) as raised:
        read_policy(component, "p", wrong)
    assert raised.value.explanation == f"Validation failed\n\n{text}\n"


def test_a_pattern_that_is_no_regular_expression_is_refused() -> None:
    with pytest.raises(PreconditionFailed, match=r"pattern should be regular expression but is invalid"):
        read_policy(POLICY, "p", value(pattern="("))


# --------------------------------------------------------------------------------------------------- matching


def policies(*some: Policy) -> Policies:
    found = Policies()
    for one in some:
        found.put(POLICY, one)
    return found


def test_the_highest_priority_counts_and_then_the_first_name() -> None:
    found = policies(policy("low", priority=1), policy("b", "q", priority=5), policy("a", "q", priority=5))
    assert found.applied("classic", "q").policy == policy("a", "q", priority=5)
    assert found.applied("classic", "x").policy == policy("low", priority=1)
    found.drop(POLICY, "a")
    assert found.applied("classic", "q").policy == policy("b", "q", priority=5)


def test_a_pattern_is_searched_for_anywhere() -> None:
    assert policies(policy("p", "bc$")).applied("classic", "abc").policy is not None
    assert policies(policy("p", "")).applied("classic", "abc").policy is not None
    assert policies(policy("p", "^b")).applied("classic", "abc").policy is None


@pytest.mark.parametrize(
    ("apply_to", "kinds"),
    [
        ("queues", ["classic", "quorum", "stream"]),
        ("classic_queues", ["classic"]),
        ("quorum_queues", ["quorum"]),
        ("streams", ["stream"]),
        ("exchanges", ["exchange"]),
        ("all", ["classic", "quorum", "stream", "exchange"]),
    ],
)
def test_what_a_policy_applies_to(apply_to: str, kinds: list[str]) -> None:
    found = policies(policy("p", apply_to=apply_to))
    every = ["classic", "quorum", "stream", "exchange"]
    assert [kind for kind in every if found.applied(kind, "q").policy is not None] == kinds


def test_a_key_that_the_type_does_not_support_makes_way_for_the_next_policy() -> None:
    found = policies(policy("high", priority=9, max_age="1D", max_length_bytes=5), policy("low", max_length_bytes=9))
    assert found.applied("classic", "q").definition == {"max-length-bytes": 9}
    assert found.applied("stream", "q").definition == {"max-age": "1D", "max-length-bytes": 5}
    assert found.applied("exchange", "q").definition == {"max-age": "1D", "max-length-bytes": 5}


def test_an_operator_policy_makes_limits_tighter() -> None:
    mine = {"max-length": 10, "message-ttl": 5, "overflow": "drop-head", "dead-letter-exchange": "x"}
    operator = {"max-length": 20, "message-ttl": 1, "overflow": "reject-publish", "expires": 9}
    assert merge(mine, operator) == {
        "max-length": 10,
        "message-ttl": 1,
        "overflow": "reject-publish",
        "dead-letter-exchange": "x",
        "expires": 9,
    }
    assert merge({"delivery-limit": 5}, {"delivery-limit": 3}) == {"delivery-limit": 3}
    assert merge({"delivery-limit": -1}, {"delivery-limit": 3}) == {"delivery-limit": 3}
    assert merge({"delivery-limit": 5}, {"delivery-limit": -1}) == {"delivery-limit": 5}


# --------------------------------------------------------------------------------------------------- promises


def promised(arguments: dict[str, Any], kind: str = "classic", **definitions: Any) -> Promises:
    return work_out(kind, from_json(arguments), definitions.get("policy"), definitions.get("operator"))


def test_nothing_said_nothing_promised() -> None:
    assert promised({}) == Promises()
    assert promised({}, "quorum") == Promises(delivery_limit=20)


def test_the_smaller_number_counts() -> None:
    arguments = {"x-message-ttl": 10, "x-expires": 30, "x-max-length": 5, "x-max-length-bytes": 100}
    said = {"message-ttl": 20, "expires": 20, "max-length": 6, "max-length-bytes": 99}
    assert promised(arguments, policy=said) == Promises(message_ttl=10, expires=20, max_length=5, max_length_bytes=99)
    assert promised({}, policy=said, operator={"message-ttl": 0}).message_ttl == 0


def test_the_argument_counts_where_there_is_no_smaller() -> None:
    arguments = {"x-dead-letter-exchange": "mine", "x-overflow": "reject-publish"}
    said = {"dead-letter-exchange": "theirs", "dead-letter-routing-key": "k", "overflow": "drop-head"}
    found = promised(arguments, policy=said, operator={"overflow": "reject-publish-dlx"})
    assert (found.dead_letter_exchange, found.dead_letter_routing_key, found.overflow) == (
        "mine",
        "k",
        "reject-publish",
    )
    assert promised({}, policy=said).dead_letter_exchange == "theirs"
    assert promised({"x-dead-letter-exchange": ""}, policy=said).dead_letter_exchange == ""


@pytest.mark.parametrize(
    ("arguments", "said", "limit"),
    [
        ({}, {}, 20),
        ({"x-delivery-limit": 5}, {}, 5),
        ({"x-delivery-limit": -1}, {}, None),
        ({"x-delivery-limit": 5}, {"delivery-limit": 3}, 3),
        ({"x-delivery-limit": 5}, {"delivery-limit": -1}, 5),
        ({"x-delivery-limit": -1}, {"delivery-limit": -1}, None),
        ({}, {"delivery-limit": 0}, 0),
    ],
)
def test_the_delivery_limit(arguments: dict[str, Any], said: dict[str, Any], limit: int | None) -> None:
    assert promised(arguments, "quorum", policy=said).delivery_limit == limit


def test_arguments_that_stand_alone() -> None:
    found = promised({"x-max-priority": 9, "x-single-active-consumer": True}, policy={"queue-mode": "lazy"})
    assert found == Promises(max_priority=9, single_active_consumer=True)


@pytest.mark.parametrize(
    ("text", "milliseconds"), [("90s", 90_000), ("2m", 120_000), ("1h", 3_600_000), ("7D", 604_800_000)]
)
def test_ages_are_milliseconds(text: str, milliseconds: int) -> None:
    assert promised({"x-max-age": text}, "stream", policy={"max-age": "1Y"}).max_age == milliseconds


def test_values_of_the_wrong_type_that_nobody_checks_promise_nothing() -> None:
    assert promised({"x-consumer-timeout": "soon", "x-delayed-retry-min": -1, "x-max-priority": True}) == Promises()


def test_a_dead_letter_key_of_any_octets() -> None:
    found = work_out("classic", {"x-dead-letter-routing-key": Field("S", b"\xff")})
    assert found.dead_letter_routing_key == "\udcff"


# ------------------------------------------------------------------------------------------------- in a broker


class Outcomes(list[object]):
    def __call__(self, outcome: object) -> None:
        self.append(outcome)


def set_policy(world: World, name: str, pattern: str, operator: bool = False, **changes: Any) -> None:
    done = Outcomes()
    priority, apply_to = changes.pop("priority", 0), changes.pop("apply_to", "all")
    operations.set_policy(
        world.broker,
        world.broker.vhosts["/"],
        name,
        pattern=pattern,
        definition={key.replace("_", "-"): item for key, item in changes.items()},
        priority=priority,
        apply_to=apply_to,
        operator=operator,
        done=done,
    )
    world.run()
    assert done == [None]


def clear_policy(world: World, name: str, operator: bool = False) -> None:
    done = Outcomes()
    operations.clear_policy(world.broker, world.broker.vhosts["/"], name, operator=operator, done=done)
    world.run()
    assert done == [None]


def test_policies_reach_queues_that_are_there_and_queues_that_come() -> None:
    world = World()
    client = world.connect()
    client.open()
    client.declare("old", arguments={"x-max-length": 50})
    set_policy(world, "p", "o", max_length=10, message_ttl=5)
    client.declare("other")
    client.declare("x")
    assert world.queue("old").promises == world.queue("other").promises == Promises(max_length=10, message_ttl=5)
    assert world.queue("x").promises == Promises() and world.queue("x").applied == Applied()
    set_policy(world, "limit", ".*", operator=True, max_length=3)
    assert world.queue("old").promises == Promises(max_length=3, message_ttl=5)
    assert world.queue("x").promises == Promises(max_length=3)
    clear_policy(world, "p")
    assert world.queue("old").promises == Promises(max_length=3)
    clear_policy(world, "limit", operator=True)
    assert world.queue("old").promises == Promises(max_length=50)
    with pytest.raises(NotFound, match="Parameter does not exist"):
        clear_policy(world, "p")


def test_very_many_queues_get_their_policy_over_several_turns() -> None:
    world = World()
    client = world.connect()
    client.open()
    for number in range(2500):
        client.declare(f"q{number}")
    done = Outcomes()
    operations.set_policy(
        world.broker, world.broker.vhosts["/"], "p", pattern="q", definition={"expires": 1000}, done=done
    )
    assert done == [] and world.queue("q2499").promises.expires is None
    world.turn.run()
    assert done == [] and world.queue("q2499").promises.expires is None, "not all in one turn"
    client.declare("q-new")
    world.run()
    assert done == [None]
    assert {queue.promises.expires for queue in world.broker.vhosts["/"].queues.values()} == {1000}


def test_an_alternate_exchange_by_policy_comes_and_goes_while_messages_flow() -> None:
    world = World()
    client = world.connect()
    client.open()
    for name in ("main", "spare", "own"):
        client.method(1, commands.Exchange.Declare, exchange=name, exchange_type="fanout", arguments={})
    client.method(
        1,
        commands.Exchange.Declare,
        exchange="mine",
        exchange_type="fanout",
        arguments={"alternate-exchange": "own"},
    )
    client.declare("rest")
    client.declare("kept")
    client.method(1, commands.Queue.Bind, queue="rest", exchange="spare", routing_key="")
    client.method(1, commands.Queue.Bind, queue="kept", exchange="own", routing_key="")

    def flow() -> tuple[int, int]:
        for exchange in ("main", "mine", "main", "mine", "main", "mine"):
            client.publish(exchange, "k")
        return world.queue("rest").ready, world.queue("kept").ready

    assert flow() == (0, 3)
    set_policy(world, "p", "^m", apply_to="exchanges", alternate_exchange="spare")
    assert flow() == (3, 6), "an argument counts before a policy"
    client.method(1, commands.Exchange.Delete, exchange="spare")
    client.method(1, commands.Exchange.Declare, exchange="spare", exchange_type="fanout", arguments={})
    assert flow() == (3, 9)
    client.method(1, commands.Queue.Bind, queue="rest", exchange="spare", routing_key="")
    assert flow() == (6, 12)
    clear_policy(world, "p")
    assert flow() == (6, 15)
    client.method(1, commands.Exchange.Delete, exchange="main")
    assert "spare" not in world.broker.vhosts["/"].exchanges.naming


def test_policies_are_there_after_a_restart_also_for_exchanges_of_the_system() -> None:
    world = World()
    client = world.connect()
    client.open()
    client.declare("q", durable=True)
    set_policy(world, "p", ".*", alternate_exchange="a", max_length=3)
    set_policy(world, "o", ".*", operator=True, max_length=2)
    again = World(world.engine, world.catalog)
    assert again.queue("q").promises == Promises(max_length=2)
    assert again.broker.vhosts["/"].exchanges["amq.topic"].alternate == "a"
    assert again.broker.vhosts["/"].exchanges["amq.topic"].applied.policy is not None
    clear_policy(again, "p")
    clear_policy(again, "o", operator=True)
    assert World(world.engine, world.catalog).queue("q").promises == Promises()


def test_a_policy_whose_virtual_host_goes_meanwhile_is_no_policy() -> None:
    world = World()
    waiting: list[Any] = []
    submit = world.catalog.submit
    world.catalog.submit = lambda changes, done: waiting.append((changes, done))  # type: ignore[method-assign]
    done = Outcomes()
    vhost = world.broker.vhosts["/"]
    operations.set_policy(world.broker, vhost, "p", pattern="", definition={"expires": 1}, done=done)
    operations.delete_vhost(world.broker, "/", lambda _: None)
    for changes, committed in waiting:
        submit(changes, committed)
    assert len(done) == 1 and isinstance(done[0], AmqpError) and done[0].explanation == "no vhost '/'"
    assert world.catalog.load().parameters == []
