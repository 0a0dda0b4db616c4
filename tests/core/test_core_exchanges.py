"""Bindings, what an exchange keeps of them, and the types that look at the key alone."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amqpd.core.exchanges.base import (
    NO_PROPERTIES,
    TYPES,
    Binding,
    Depends,
    Exchange,
    ExchangeType,
    Witness,
    create,
    factory,
)
from amqpd.core.exchanges.topic import Topic
from amqpd.errors import PreconditionFailed
from amqpd.wire.tables import Field, Table, longstr


class Pool:
    """What an exchange needs to know of a queue."""

    def __init__(self, name: str, durable: bool = True) -> None:
        self.name = name
        self.durable = durable
        self.bindings: dict[Binding, None] = {}


NEEDED = {
    "x-delayed-message": {"x-delayed-type": Field("S", "fanout")},
    "x-message-deduplication": {"x-cache-size": Field("I", 1)},
}
"""The arguments without which a type is not made."""


def made(kind: str) -> ExchangeType:
    return create(kind, NEEDED.get(kind))


def exchange(kind: str = "direct", name: str = "x", **properties: Any) -> Exchange:
    arguments: Table = properties.pop("arguments", {})
    flags = {"durable": True, "auto_delete": False, "internal": False} | properties
    return Exchange(name, "/", kind, arguments=arguments, type=made(kind), **flags)


def binding(source: Exchange, destination: Any, key: str = "", arguments: Table | None = None) -> Binding:
    return Binding(source, destination, key, arguments or {})


def routed(source: Exchange, key: str) -> list[str]:
    found = source.type.route((key,), {}, NO_PROPERTIES)
    return sorted(destination.name for destination in found if not isinstance(destination, Witness))


# ------------------------------------------------------------------------------------------------- registry


@pytest.mark.parametrize("kind", TYPES)
def test_every_type_has_the_name_it_is_registered_under(kind: str) -> None:
    assert made(kind).name == kind
    assert made(kind) is not made(kind)


def test_a_type_that_does_not_exist() -> None:
    with pytest.raises(PreconditionFailed) as raised:
        create("x-foo")
    assert raised.value.explanation == "unknown exchange type 'x-foo'"


def test_a_type_that_is_added_does_not_replace_one_of_ours() -> None:
    added = {"x-foo": create, "direct": create}
    assert factory("x-foo", added) is create
    assert factory("direct", added)({}).name == "direct"


def test_what_the_answers_depend_on() -> None:
    assert {kind: made(kind).depends for kind in TYPES} == {
        "direct": Depends.KEY,
        "fanout": Depends.KEY,
        "topic": Depends.KEY,
        "headers": Depends.HEADERS,
        "x-consistent-hash": Depends.KEY,
        "x-delayed-message": Depends.HEADERS,
        "x-local-random": Depends.EACH,
        "x-message-deduplication": Depends.EACH,
        "x-modulus-hash": Depends.KEY,
        "x-random": Depends.EACH,
        "x-recent-history": Depends.HEADERS,
    }
    assert max(Depends) is Depends.EACH


# ------------------------------------------------------------------------------------------------- bindings


def test_binding_twice_is_binding_once() -> None:
    source, queue = exchange(), Pool("q")
    one = binding(source, queue, "k", {"a": Field("S", "1"), "b": Field("I", 2)})
    same = binding(source, queue, "k", {"b": Field("I", 2), "a": Field("S", "1")})
    assert source.bind(one)
    assert not source.bind(same)
    assert list(queue.bindings) == [one]
    assert routed(source, "k") == ["q"]


def test_kind_name_key_and_arguments_make_the_identity() -> None:
    source, queue = exchange(), Pool("q")
    others = [
        binding(source, queue, "k"),
        binding(source, queue, "l"),
        binding(source, Pool("r"), "k"),
        binding(source, exchange(name="q"), "k"),
        binding(source, queue, "k", {"a": Field("I", 1)}),
        binding(source, queue, "k", {"a": Field("l", 1)}),
    ]
    assert all(source.bind(other) for other in others)
    assert len(source.outgoing) == len(others)


def test_unbinding_what_is_not_there() -> None:
    source, queue = exchange(), Pool("q")
    source.bind(binding(source, queue, "k"))
    assert source.unbind(binding(source, queue, "l").identity) is None
    assert routed(source, "k") == ["q"]


@pytest.mark.parametrize("kind", TYPES)
def test_unbinding_leaves_nothing_behind(kind: str) -> None:
    source, queue, other = exchange(kind), Pool("q"), exchange(name="y")
    made = [binding(source, queue, "1"), binding(source, other, "1"), binding(source, other, "2")]
    for one in made:
        source.bind(one)
    assert source.onward == {other: 2}
    assert other.upstream == {source: 2}
    for one in made:
        assert source.unbind(one.identity) is one
    assert not source.outgoing
    assert not queue.bindings
    assert not other.incoming
    assert not source.onward
    assert not other.upstream
    assert routed(source, "1") == []


@pytest.mark.parametrize("ends", [(True, True), (True, False), (False, True), (False, False)])
def test_a_binding_is_durable_between_durable_ends(ends: tuple[bool, bool]) -> None:
    source, queue = exchange(durable=ends[0]), Pool("q", durable=ends[1])
    assert binding(source, queue).durable == all(ends)


def test_auto_delete_waits_for_the_last_of_its_own_bindings() -> None:
    source, queue, above = exchange(auto_delete=True), Pool("q"), exchange(name="above")
    above.bind(binding(above, source))
    assert not source.should_auto_delete, "it never had a binding of its own"
    first, second = binding(source, queue, "1"), binding(source, queue, "2")
    source.bind(first)
    source.bind(second)
    source.unbind(first.identity)
    assert not source.should_auto_delete
    source.unbind(second.identity)
    assert source.should_auto_delete


def test_an_exchange_without_auto_delete_stays() -> None:
    source, queue = exchange(), Pool("q")
    only = binding(source, queue)
    source.bind(only)
    source.unbind(only.identity)
    assert not source.should_auto_delete


def test_the_alternate_is_an_argument() -> None:
    assert exchange(arguments={"alternate-exchange": longstr("ae")}).alternate == "ae"
    assert exchange().alternate is None


# ---------------------------------------------------------------------------------------- direct and fanout


@pytest.mark.parametrize("kind", ["direct", "fanout", "topic"])
def test_all_keys_of_a_message_count(kind: str) -> None:
    source = exchange(kind)
    for name, key in [("q1", "a"), ("q2", "b")]:
        source.bind(binding(source, Pool(name), key))
    found = source.type.route(("a", "b", "c"), {}, NO_PROPERTIES)
    assert sorted(destination.name for destination in found) == ["q1", "q2"]


def test_direct_matches_the_whole_key() -> None:
    source = exchange("direct")
    for name, key in [("q1", "a"), ("q2", "a"), ("q3", "a.b"), ("q4", "*"), ("q5", "")]:
        source.bind(binding(source, Pool(name), key))
    assert routed(source, "a") == ["q1", "q2"]
    assert routed(source, "a.b") == ["q3"]
    assert routed(source, "*") == ["q4"]
    assert routed(source, "") == ["q5"]
    assert routed(source, "b") == []


def test_fanout_does_not_look_at_the_key() -> None:
    source = exchange("fanout")
    for name, key in [("q1", "a"), ("q2", "b")]:
        source.bind(binding(source, Pool(name), key))
    assert routed(source, "c") == ["q1", "q2"]


# ---------------------------------------------------------------------------------------------------- topic


def matches(pattern: list[str], key: list[str]) -> bool:
    """The definition of a topic match, word by word."""
    if not pattern:
        return not key
    if pattern[0] == "#":
        return matches(pattern[1:], key) or (bool(key) and matches(pattern, key[1:]))
    return bool(key) and pattern[0] in ("*", key[0]) and matches(pattern[1:], key[1:])


def split(key: str) -> list[str]:
    return key.split(".") if key else []


# Answers of RabbitMQ 3.10.8.
@pytest.mark.parametrize(
    ("pattern", "key", "expected"),
    [
        ("#", "", True),
        ("#", "a.b.c", True),
        ("*", "", False),
        ("*", "a", True),
        ("*", ".", False),
        ("*", "a.b", False),
        ("", "", True),
        ("", "a", False),
        (".", "", False),
        (".", ".", True),
        ("*.*", ".", True),
        ("#.*", "", False),
        ("*.#", "", False),
        ("#.a", "", False),
        (".#", "", False),
        ("#.*.#", "", False),
        ("#.#", "a", True),
        ("a.#", "a", True),
        ("a.#", "b", False),
        ("a.*", "a", False),
        ("a.*", "a.", True),
        ("a", "a.", False),
        ("*.b", ".b", True),
        ("*.b", "a.b", True),
        ("a.#.b", "a.b", True),
        ("a.#.b", "a.x.y.b", True),
        ("a.#.b", "a.x.y", False),
        ("a.*.b", "a..b", True),
        ("..", "..", True),
        ("a*", "ab", False),
        ("a#", "ab", False),
    ],
)
def test_topic_words(pattern: str, key: str, expected: bool) -> None:
    assert matches(split(pattern), split(key)) == expected
    source = exchange("topic")
    source.bind(binding(source, Pool("q"), pattern))
    assert routed(source, key) == ["q"] * expected


PATTERNS = st.lists(st.sampled_from(["a", "b", "", "*", "#", "#"]), max_size=6).map(".".join)
KEYS = st.lists(st.sampled_from(["a", "b", "c", ""]), max_size=6).map(".".join)


@given(st.lists(PATTERNS, max_size=12), st.data())
def test_the_trie_agrees_with_the_definition(patterns: list[str], data: st.DataObject) -> None:
    source = exchange("topic")
    made = [binding(source, Pool(f"q{place}"), pattern) for place, pattern in enumerate(patterns)]
    for one in made:
        source.bind(one)
    gone = data.draw(st.sets(st.sampled_from(made))) if made else set()
    for one in gone:
        source.unbind(one.identity)
    for key in data.draw(st.lists(KEYS, min_size=1, max_size=6)):
        expected = [
            one.destination.name for one in made if one not in gone and matches(split(one.routing_key), split(key))
        ]
        assert routed(source, key) == sorted(expected)
    for one in made:
        source.unbind(one.identity)
    assert isinstance(source.type, Topic)
    assert source.type.root.empty


def test_a_pattern_of_hashes_costs_its_length() -> None:
    source = exchange("topic")
    source.bind(binding(source, Pool("q"), ".".join(["#"] * 60 + ["a"])))
    source.bind(binding(source, Pool("r"), ".".join(["#", "*"] * 30 + ["a"])))
    key = ".".join(["b"] * 120)
    assert routed(source, key) == []
    assert routed(source, key + ".a") == ["q", "r"]


def test_a_pattern_may_be_as_deep_as_a_key_is_long() -> None:
    source = exchange("topic")
    source.bind(binding(source, Pool("q"), "." * 255))
    source.bind(binding(source, Pool("r"), ".".join("#" * 128)))
    assert routed(source, "." * 255) == ["q", "r"]
