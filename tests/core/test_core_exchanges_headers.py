"""The headers exchange: truth tables, as RabbitMQ answers them, and the index against a naive search."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amqpd.core.exchanges.base import NO_PROPERTIES, Binding, Exchange
from amqpd.core.exchanges.headers import Headers
from amqpd.errors import PreconditionFailed
from amqpd.wire.tables import Field, Table, longstr


class Pool:
    """What an exchange needs to know of a queue."""

    durable = False

    def __init__(self, name: str) -> None:
        self.name = name
        self.bindings: dict[Binding, None] = {}


def exchange() -> Exchange:
    return Exchange(
        "x", "/", "headers", durable=False, auto_delete=False, internal=False, arguments={}, type=Headers({})
    )


def bound(source: Exchange, arguments: Table, name: str = "q") -> Binding:
    queue: Any = Pool(name)
    made = Binding(source, queue, "", arguments)
    source.type.check_binding(made)
    source.bind(made)
    return made


def match(arguments: Table, headers: Table) -> bool:
    source = exchange()
    made = bound(source, arguments)
    answer = {destination.name for destination in source.type.route(("any key",), headers, NO_PROPERTIES)}
    source.unbind(made.identity)
    assert not list(source.type.route(("any key",), headers, NO_PROPERTIES))
    return answer == {"q"}


def table(**fields: Any) -> Table:
    """A table of ints, strings and voids; `_` in a name stands for a dash."""
    kinds = {int: "I", str: "S", type(None): "V", bool: "t"}
    return {name.replace("_", "-"): Field(kinds[type(value)], value) for name, value in fields.items()}


A1, B2 = table(a=1)["a"], table(b=2)["b"]


@pytest.mark.parametrize(
    ("mode", "headers", "expected"),
    [
        (None, {"a": 1, "b": 2}, True),
        (None, {"a": 1}, False),
        ("all", {"a": 1, "b": 2}, True),
        ("all", {"a": 1, "b": 2, "c": 3}, True),
        ("all", {"a": 1, "b": 3}, False),
        ("all", {"a": 1}, False),
        ("all", {}, False),
        ("any", {"a": 1, "b": 2}, True),
        ("any", {"a": 1, "b": 3}, True),
        ("any", {"b": 2}, True),
        ("any", {"a": 2, "b": 1}, False),
        ("any", {}, False),
        ("all-with-x", {"a": 1, "b": 2}, True),
        ("all-with-x", {"a": 1}, False),
        ("any-with-x", {"a": 1}, True),
        ("any-with-x", {"c": 1}, False),
    ],
)
def test_all_and_any(mode: str | None, headers: dict[str, Any], expected: bool) -> None:
    arguments = table(a=1, b=2) | ({"x-match": longstr(mode)} if mode else {})
    assert match(arguments, table(**headers)) == expected


@pytest.mark.parametrize(
    ("arguments", "headers", "expected"),
    [
        ({}, {}, True),
        ({}, {"a": 1}, True),
        ({"x_match": "any"}, {}, False),
        ({"x_match": "any"}, {"a": 1}, False),
        ({"x_match": "all", "x_a": 1}, {}, True),
        ({"x_match": "any", "x_a": 1}, {"x_a": 1}, False),
        ({"x_match": "all-with-x", "x_a": 1}, {}, False),
        ({"x_match": "all-with-x", "x_a": 1}, {"x_a": 1}, True),
        ({"x_match": "all-with-x", "x_a": 1}, {"x_a": 2}, False),
        ({"x_match": "any-with-x", "x_a": 1}, {"x_a": 1}, True),
        ({"x_match": "any-with-x", "x_a": 1, "b": 2}, {"b": 2}, True),
        ({"x_match": "any-with-x"}, {"x_match": "any-with-x"}, False),
        ({"x_match": "all-with-x"}, {}, True),
    ],
)
def test_which_arguments_count(arguments: dict[str, Any], headers: dict[str, Any], expected: bool) -> None:
    assert match(table(**arguments), table(**headers)) == expected


@pytest.mark.parametrize(
    ("wanted", "found", "expected"),
    [
        (Field("I", 5), Field("l", 5), True),
        (Field("b", 5), Field("u", 5), True),
        (Field("I", 5), Field("I", 6), False),
        (Field("I", 5), Field("T", 5), True),
        (Field("I", 5), Field("S", "5"), False),
        (Field("I", 1), Field("t", True), False),
        (Field("t", True), Field("I", 1), False),
        (Field("t", True), Field("t", True), True),
        (Field("t", True), Field("t", False), False),
        (Field("S", "x"), Field("x", b"x"), True),
        (Field("S", "ü"), Field("x", "ü".encode()), True),
        (Field("S", b"\xff"), Field("S", b"\xff"), True),
        (Field("S", "x"), Field("S", "y"), False),
        (Field("d", 1.5), Field("f", 1.5), True),
        (Field("D", (0, 5)), Field("I", 5), False),
        (Field("D", (1, 15)), Field("D", (1, 15)), True),
        (Field("V", None), Field("I", 1), True),
        (Field("V", None), Field("V", None), True),
        (Field("I", 1), Field("V", None), False),
        (Field("A", [Field("I", 1)]), Field("A", [Field("I", 1)]), True),
        (Field("A", [Field("I", 1)]), Field("A", [Field("l", 1)]), False),
        (Field("A", []), Field("F", {}), False),
        (Field("F", {"z": A1}), Field("F", {"z": A1}), True),
        (Field("F", {"z": A1}), Field("F", {"z": B2}), False),
    ],
)
@pytest.mark.parametrize("mode", ["all", "any"])
def test_values(mode: str, wanted: Field, found: Field, expected: bool) -> None:
    assert match({"x-match": longstr(mode), "h": wanted}, {"h": found, "other": A1}) == expected
    assert not match({"x-match": longstr(mode), "h": wanted}, {"other": found})


@pytest.mark.parametrize(
    ("field", "text"),
    [
        (
            longstr("foo"),
            'Invalid x-match field value <<"foo">>; expected all, any, all-with-x, or any-with-x',
        ),
        (longstr(""), "Invalid x-match field value <<>>; expected all, any, all-with-x, or any-with-x"),
        (Field("I", 4), "Invalid x-match field type signedint (value 4); expected longstr"),
        (Field("t", True), "Invalid x-match field type bool (value true); expected longstr"),
        (Field("V", None), "Invalid x-match field type void (value undefined); expected longstr"),
        (Field("x", b"all"), 'Invalid x-match field type binary (value <<"all">>); expected longstr'),
        (
            Field("A", [Field("I", 1)]),
            "Invalid x-match field type array (value [{signedint,1}]); expected longstr",
        ),
        (
            Field("F", {"a": Field("I", 1)}),
            'Invalid x-match field type table (value [{<<"a">>,signedint,1}]); expected longstr',
        ),
    ],
)
def test_an_x_match_that_is_none(field: Field, text: str) -> None:
    with pytest.raises(PreconditionFailed) as raised:
        bound(exchange(), {"x-match": field})
    assert raised.value.explanation == text


def test_all_bindings_are_found_where_few_others_are() -> None:
    source = exchange()
    for number in range(50):
        bound(source, table(type="order", customer=number), f"q{number}")
    assert isinstance(source.type, Headers)
    assert max(len(bindings) for bindings in source.type.index.values()) <= 2
    assert [queue.name for queue in source.type.route(("",), table(type="order", customer=7), NO_PROPERTIES)] == ["q7"]


NAMES = ["a", "b", "x-c"]
VALUES = st.sampled_from([Field("V", None), Field("I", 1), Field("l", 1), Field("S", "1"), Field("t", True)])
TABLES = st.dictionaries(st.sampled_from(NAMES), VALUES)
MODES = st.sampled_from([None, "all", "any", "all-with-x", "any-with-x"])


def naive(arguments: Table, headers: Table) -> bool:
    """What the documentation says, by a loop."""
    mode = arguments["x-match"].value if "x-match" in arguments else "all"
    answers = []
    for name, wanted in arguments.items():
        if name == "x-match" or (name.startswith("x-") and not mode.endswith("-with-x")):
            continue
        found = headers.get(name)
        same = found is not None and ("I" if found.kind == "l" else found.kind) == (
            "I" if wanted.kind == "l" else wanted.kind
        )
        answers.append(found is not None and (wanted.kind == "V" or (same and found.value == wanted.value)))
    return all(answers) if mode.startswith("all") else any(answers)


@given(st.lists(st.tuples(MODES, TABLES), max_size=8), TABLES, st.data())
def test_the_index_agrees_with_a_search(bindings: list[Any], headers: Table, data: st.DataObject) -> None:
    source = exchange()
    made = []
    for place, (mode, arguments) in enumerate(bindings):
        arguments = arguments | ({"x-match": longstr(mode)} if mode else {})
        made.append(bound(source, arguments, f"q{place}"))
    gone = data.draw(st.sets(st.sampled_from(made))) if made else set()
    for one in gone:
        source.unbind(one.identity)
    expected = {one.destination.name for one in made if one not in gone and naive(one.arguments, headers)}
    assert {destination.name for destination in source.type.route(("",), headers, NO_PROPERTIES)} == expected
    for one in made:
        source.unbind(one.identity)
    assert isinstance(source.type, Headers)
    assert not source.type.index
    assert not source.type.conditions
