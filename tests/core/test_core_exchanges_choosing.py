"""The exchange types that choose one destination: by hash and by chance."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amqpd.core.exchanges.base import NO_PROPERTIES, Binding, Depends, Exchange, create
from amqpd.core.exchanges.consistent_hash import ConsistentHash
from amqpd.core.exchanges.random import LocalRandom, Random
from amqpd.errors import PreconditionFailed
from amqpd.wire import properties
from amqpd.wire.tables import Field, Table, longstr

KEYS = [f"customer-{number}" for number in range(4000)]


class Pool:
    """What an exchange needs to know of a queue."""

    durable = False

    def __init__(self, name: str, kind: str = "classic") -> None:
        self.name = name
        self.kind = kind
        self.bindings: dict[Binding, None] = {}


def exchange(kind: str, arguments: Table | None = None, type: Any = None) -> Exchange:
    made = type or create(kind, arguments)
    return Exchange("x", "/", kind, durable=False, auto_delete=False, internal=False, arguments={}, type=made)


def bind(source: Exchange, destination: Any, key: str = "1") -> Binding:
    made = Binding(source, destination, key, {})
    source.type.check_binding(made)
    source.bind(made)
    return made


def chosen(source: Exchange, *keys: str, headers: Table | None = None, **props: Any) -> str:
    """The name of the only destination."""
    (destination,) = source.type.route(keys, headers or {}, properties.encode(props))
    return destination.name


def choices(source: Exchange) -> dict[str, str]:
    return {key: chosen(source, key) for key in KEYS}


def hashing(weights: dict[str, str]) -> Exchange:
    source = exchange("x-consistent-hash")
    for name, weight in weights.items():
        bind(source, Pool(name), weight)
    return source


# --------------------------------------------------------------------------------------- x-consistent-hash


def test_messages_are_shared_by_weight() -> None:
    weights = {"a": "1", "b": "2", "c": "5"}
    counts = Counter(choices(hashing(weights)).values())
    for name, weight in weights.items():
        # Five standard deviations of so many throws.
        share = int(weight) / 8
        assert abs(counts[name] - share * len(KEYS)) < 5 * (len(KEYS) * share * (1 - share)) ** 0.5


def test_a_destination_that_comes_takes_its_share_and_moves_nothing_else() -> None:
    source = hashing({"a": "1", "b": "1", "c": "2"})
    before = choices(source)
    added = bind(source, Pool("d"), "2")
    after = choices(source)
    assert {after[key] for key in KEYS if after[key] != before[key]} == {"d"}
    source.unbind(added.identity)
    assert choices(source) == before


def test_a_heavier_destination_only_gains() -> None:
    before, after = choices(hashing({"a": "1", "b": "1"})), choices(hashing({"a": "1", "b": "3"}))
    assert {(before[key], after[key]) for key in KEYS} == {("a", "a"), ("b", "b"), ("a", "b")}


def test_the_order_of_bindings_does_not_count() -> None:
    assert choices(hashing({"a": "1", "b": "2", "c": "3"})) == choices(hashing({"c": "3", "a": "1", "b": "2"}))


def test_what_is_chosen_stays_over_releases() -> None:
    """Messages of one key must find the queue of those before them after an upgrade, too."""
    source = hashing({"a": "1", "b": "2", "c": "3"})
    assert "".join(chosen(source, key) for key in ("", "é", *KEYS[:30])) == "bcbabcbccbbcbaccbcccbbcccbccaaaa"


def test_the_first_key_decides() -> None:
    source = hashing({"a": "1", "b": "1"})
    assert all(chosen(source, key, "copy", "other") == chosen(source, key) for key in KEYS[:50])


def test_nothing_bound_is_nowhere() -> None:
    assert not exchange("x-consistent-hash").type.route(("k",), {}, NO_PROPERTIES)


def test_an_immense_weight_is_only_a_number() -> None:
    source = hashing({"a": "9" * 255, "b": "1"})
    assert set(choices(source).values()) == {"a"}


def test_the_oldest_binding_of_a_destination_is_its_weight() -> None:
    source = exchange("x-consistent-hash")
    queue = Pool("a")
    oldest = bind(source, queue, "1")
    bind(source, queue, "1000000")
    bind(source, Pool("b"), "1")
    assert Counter(choices(source).values())["b"] > len(KEYS) / 3
    source.unbind(oldest.identity)
    assert Counter(choices(source).values())["b"] < len(KEYS) / 100


def test_exchanges_and_queues_of_one_name_are_two() -> None:
    source = exchange("x-consistent-hash")
    bind(source, Pool("q"))
    other = Exchange(
        "q", "/", "direct", durable=False, auto_delete=False, internal=False, arguments={}, type=create("direct")
    )
    bind(source, other)
    found = {type(source.type.route((key,), {}, NO_PROPERTIES)[0]) for key in KEYS[:50]}
    assert found == {Pool, Exchange}


def test_a_header_is_hashed() -> None:
    source = exchange("x-consistent-hash", {"hash-header": longstr("customer")})
    assert source.type.depends is Depends.HEADERS
    for name in "abcd":
        bind(source, Pool(name))
    by_value = {value: chosen(source, value, headers={"customer": longstr(value)}) for value in KEYS[:200]}
    assert set(by_value.values()) == set("abcd")
    assert all(chosen(source, "k", headers={"customer": longstr(value)}) == name for value, name in by_value.items())
    assert len({chosen(source, key) for key in KEYS[:200]}) == 1, "without the header all go to one"
    numbers = {chosen(source, "k", headers={"customer": Field("I", number)}) for number in range(200)}
    assert numbers == set("abcd")


@pytest.mark.parametrize("name", ["correlation_id", "message_id", "timestamp"])
def test_a_property_is_hashed(name: str) -> None:
    source = exchange("x-consistent-hash", {"hash-property": longstr(name)})
    assert source.type.depends is Depends.EACH
    for queue in "abcd":
        bind(source, Pool(queue))
    values: list[Any] = list(range(200)) if name == "timestamp" else KEYS[:200]
    by_value = {value: chosen(source, str(value), **{name: value}) for value in values}
    assert set(by_value.values()) == set("abcd")
    assert all(chosen(source, "k", app_id="x", **{name: value}) == queue for value, queue in by_value.items())
    assert len({chosen(source, key) for key in KEYS[:200]}) == 1, "without the property all go to one"


# Answers of RabbitMQ 3.10.8.
@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("0", "The binding key must be greater than 0"),
        ("-1", "The binding key must be greater than 0"),
        ("-0", "The binding key must be greater than 0"),
        ("abc", 'The binding key must be an integer: <<"abc">>'),
        ("", "The binding key must be an integer: <<>>"),
        ("1.5", 'The binding key must be an integer: <<"1.5">>'),
        (" 1", 'The binding key must be an integer: <<" 1">>'),
        ("1_0", 'The binding key must be an integer: <<"1_0">>'),
        ("\uff11", "The binding key must be an integer: <<239,188,145>>"),
        ("1\n", "The binding key must be an integer: <<49,10>>"),
    ],
)
def test_binding_keys_that_are_no_weight(key: str, text: str) -> None:
    with pytest.raises(PreconditionFailed) as raised:
        bind(exchange("x-consistent-hash"), Pool("q"), key)
    assert raised.value.explanation == text


def test_a_weight_may_have_a_sign() -> None:
    source = hashing({"a": "+2", "b": "02"})
    assert abs(Counter(choices(source).values())["a"] - len(KEYS) / 2) < len(KEYS) / 20


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"hash-property": longstr("foo")}, "Unsupported property: foo"),
        (
            {"hash-property": longstr("foo"), "hash-header": longstr("h")},
            "hash-header and hash-property are mutually exclusive",
        ),
        ({"hash-header": Field("I", 5)}, "invalid type 'signedint' for arg 'hash-header'"),
        ({"hash-property": Field("t", True)}, "invalid type 'bool' for arg 'hash-property'"),
    ],
)
def test_arguments_that_make_no_sense(arguments: Table, text: str) -> None:
    with pytest.raises(PreconditionFailed) as raised:
        ConsistentHash(arguments)
    assert raised.value.explanation == text


# ------------------------------------------------------------------------------------------ x-modulus-hash


@given(st.permutations(range(6)))
def test_modulus_does_not_depend_on_the_order_of_bindings(order: list[int]) -> None:
    source, sorted_one = exchange("x-modulus-hash"), exchange("x-modulus-hash")
    for number in order:
        bind(source, Pool(f"q{number}"), "any")
    for number in range(6):
        bind(sorted_one, Pool(f"q{number}"), "any")
    assert [chosen(source, key) for key in KEYS[:60]] == [chosen(sorted_one, key) for key in KEYS[:60]]


def test_modulus_spreads_evenly_and_takes_all_keys_together() -> None:
    source = exchange("x-modulus-hash")
    assert not source.type.route(("k",), {}, NO_PROPERTIES)
    for name in "abcd":
        bind(source, Pool(name), "any")
    counts = Counter(choices(source).values())
    assert all(abs(counts[name] - 1000) < 150 for name in "abcd")
    assert {chosen(source, "k", copy) for copy in KEYS[:60]} == set("abcd")


# -------------------------------------------------------------------------------------------------- random


@pytest.mark.parametrize("kind", [Random, LocalRandom])
def test_chance_decides(kind: type[Random]) -> None:
    source = exchange("x-random", type=kind({}, random.Random(7)))
    assert not source.type.route(("k",), {}, NO_PROPERTIES)
    for name in "abc":
        bind(source, Pool(name), "")
    counts = Counter(chosen(source, "k") for _ in range(3000))
    assert all(abs(counts[name] - 1000) < 130 for name in "abc")


def test_a_queue_that_is_bound_twice_has_two_chances() -> None:
    source = exchange("x-random", type=Random({}, random.Random(7)))
    queue = Pool("a")
    for key in "12":
        bind(source, queue, key)
    bind(source, Pool("b"))
    counts = Counter(chosen(source, "k") for _ in range(3000))
    assert abs(counts["a"] - 2000) < 130


@pytest.mark.parametrize(
    ("destination", "key", "text"),
    [
        (Pool("q"), "k", "Non empty binding 'k' key not permitted"),
        (Pool("q", "quorum"), "", "Queue type rabbit_quorum_queue not valid for this exchange type"),
        (Pool("q", "stream"), "", "Queue type rabbit_stream_queue not valid for this exchange type"),
        (exchange("direct"), "", "Destination not found"),
    ],
)
def test_local_random_takes_classic_queues_without_a_key(destination: Any, key: str, text: str) -> None:
    source = exchange("x-local-random")
    with pytest.raises(PreconditionFailed) as raised:
        bind(source, destination, key)
    assert raised.value.explanation == text
    assert not source.outgoing
