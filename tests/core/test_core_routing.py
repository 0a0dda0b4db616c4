"""Routing through exchanges: e2e bindings, cycles, alternates, several keys; and which epochs a change raises."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from amqpd.core.exchanges.base import Binding, Depends, Destination, Exchange, create
from amqpd.core.routing import Exchanges, bump, depends, route
from amqpd.wire.tables import Field, Table, longstr


class Pool:
    """What routing needs to know of a queue."""

    durable = True

    def __init__(self, name: str) -> None:
        self.name = name
        self.bindings: dict[Binding, None] = {}


class Model:
    """Exchanges and queues by name, made when they are first named."""

    def __init__(self) -> None:
        self.exchanges = Exchanges()
        self.queues: dict[str, Any] = {}

    def exchange(self, name: str, kind: str = "direct", alternate: str | None = None) -> Exchange:
        arguments: Table = {} if alternate is None else {"alternate-exchange": longstr(alternate)}
        made = Exchange(
            name, "/", kind, durable=True, auto_delete=False, internal=False, arguments=arguments, type=create(kind)
        )
        self.exchanges[name] = made
        return made

    def queue(self, name: str) -> Any:
        return self.queues.setdefault(name, Pool(name))

    def bind(self, source: str, destination: Destination, key: str = "k", arguments: Table | None = None) -> Binding:
        made = Binding(self.exchanges[source], destination, key, arguments or {})
        made.source.bind(made)
        return made

    def route(self, name: str, *keys: str, headers: Table | None = None) -> list[str]:
        exchange = self.exchanges[name]
        return [queue.name for queue in route(exchange, keys, headers or {}, self.exchanges, self.queues)]

    def depends(self, name: str) -> Depends:
        return depends(self.exchanges[name], self.exchanges)

    def bumped(self, name: str) -> set[str]:
        before = {exchange.name: exchange.epoch for exchange in self.exchanges.values()}
        bump(self.exchanges[name], self.exchanges)
        assert all(exchange.epoch - before[exchange.name] in (0, 1) for exchange in self.exchanges.values())
        return {exchange.name for exchange in self.exchanges.values() if exchange.epoch > before[exchange.name]}


# ---------------------------------------------------------------------------------------------------- route


def test_a_queue_gets_a_message_once() -> None:
    model = Model()
    model.exchange("x", "topic")
    model.bind("x", model.queue("q"), "#")
    model.bind("x", model.queue("q"), "a.*")
    model.bind("x", model.queue("r"), "a.b")
    assert sorted(model.route("x", "a.b")) == ["q", "r"]


def test_several_keys_are_a_union() -> None:
    model = Model()
    model.exchange("x")
    for key in ("a", "b", "c"):
        model.bind("x", model.queue(f"q{key}"), key)
    model.bind("x", model.queue("both"), "a")
    model.bind("x", model.queue("both"), "b")
    assert model.route("x", "a", "b", "a", "missing") == ["qa", "both", "qb"]


def test_exchanges_behind_exchanges() -> None:
    model = Model()
    model.exchange("x")
    y = model.exchange("y", "topic")
    z = model.exchange("z", "fanout")
    model.bind("x", y)
    model.bind("x", model.queue("first"))
    model.bind("y", z, "#")
    model.bind("z", model.queue("last"))
    assert model.route("x", "k") == ["first", "last"]
    assert model.route("x", "other") == []


def test_cycles_end() -> None:
    model = Model()
    x, y = model.exchange("x", "fanout"), model.exchange("y", "fanout")
    model.bind("x", y)
    model.bind("y", x)
    model.bind("x", x)
    model.bind("x", model.queue("q"))
    model.bind("y", model.queue("r"))
    assert sorted(model.route("x", "")) == ["q", "r"]
    assert sorted(model.route("y", "")) == ["q", "r"]


def test_an_alternate_takes_what_has_nowhere_to_go() -> None:
    model = Model()
    model.exchange("x", alternate="y")
    model.exchange("y", alternate="z")
    model.exchange("z", "fanout")
    model.bind("x", model.queue("q"), "x")
    model.bind("y", model.queue("r"), "y")
    model.bind("z", model.queue("s"))
    assert model.route("x", "x") == ["q"]
    assert model.route("x", "y") == ["r"]
    assert model.route("x", "z") == ["s"]


def test_an_alternate_is_not_for_a_message_that_another_key_routed() -> None:
    model = Model()
    model.exchange("x", alternate="y")
    model.exchange("y", "fanout")
    model.bind("x", model.queue("q"), "a")
    model.bind("y", model.queue("r"))
    assert model.route("x", "a", "b") == ["q"]


def test_leading_to_an_exchange_is_somewhere() -> None:
    """As in RabbitMQ: the alternate of x is not for what y could not place."""
    model = Model()
    model.exchange("x", alternate="ae")
    y = model.exchange("y")
    model.exchange("ae", "fanout")
    model.bind("ae", model.queue("q"))
    model.bind("x", y)
    assert model.route("x", "k") == []
    model.exchange("ae", "fanout")
    model.bind("x", model.exchange("z", alternate="ae"))
    model.bind("ae", model.queue("q"))
    assert model.route("x", "k") == ["q"]


def test_alternates_that_name_each_other_end() -> None:
    model = Model()
    model.exchange("x", alternate="y")
    model.exchange("y", alternate="x")
    model.exchange("self", alternate="self")
    assert model.route("x", "k") == []
    assert model.route("self", "k") == []


def test_an_alternate_that_is_missing_is_skipped() -> None:
    model = Model()
    model.exchange("x", alternate="nowhere")
    assert model.route("x", "k") == []


def test_the_default_exchange_as_alternate_is_the_queue_of_that_name() -> None:
    model = Model()
    model.exchange("x", alternate="")
    model.queue("q")
    model.queue("r")
    assert model.route("x", "q") == ["q"]
    assert model.route("x", "q", "r", "q", "missing") == ["q", "r"]


def test_headers_count_behind_another_exchange() -> None:
    model = Model()
    model.exchange("x")
    model.bind("x", model.exchange("h", "headers"))
    model.bind("h", model.queue("q"), "", {"colour": longstr("red")})
    assert model.route("x", "k", headers={"colour": longstr("red")}) == ["q"]
    assert model.route("x", "k", headers={"colour": Field("I", 1)}) == []


# -------------------------------------------------------------------------------------------------- depends


def test_depends_is_the_strongest_on_the_way() -> None:
    model = Model()
    x = model.exchange("x")
    model.bind("x", model.queue("q"))
    assert model.depends("x") is Depends.KEY
    y, z = model.exchange("y", "topic"), model.exchange("z", "fanout")
    made = model.bind("x", y)
    model.bind("y", z)
    model.bind("z", x)
    assert model.depends("x") is Depends.KEY
    model.bind("z", model.exchange("h", "headers"))
    assert model.depends("x") is Depends.HEADERS
    x.unbind(made.identity)
    assert model.depends("x") is Depends.KEY
    assert model.depends("y") is Depends.HEADERS


def test_depends_follows_alternates() -> None:
    model = Model()
    model.exchange("x", alternate="h")
    assert model.depends("x") is Depends.KEY
    model.exchange("h", "headers")
    assert model.depends("x") is Depends.HEADERS
    model.exchange("above", alternate="d")
    model.exchange("d", alternate="")
    assert model.depends("above") is Depends.EACH


# ----------------------------------------------------------------------------------------------------- bump


def test_a_change_is_seen_by_all_that_lead_there() -> None:
    model = Model()
    for name in ("top", "middle", "bottom", "beside", "below"):
        model.exchange(name)
    model.bind("top", model.exchanges["middle"])
    model.bind("middle", model.exchanges["bottom"])
    made = model.bind("middle", model.exchanges["bottom"], "another key")
    model.bind("bottom", model.exchanges["below"])
    model.exchange("alternative", alternate="middle")
    assert model.bumped("bottom") == {"bottom", "middle", "top", "alternative"}
    assert model.bumped("beside") == {"beside"}
    made.source.unbind(made.identity)
    assert model.bumped("bottom") == {"bottom", "middle", "top", "alternative"}


def test_who_names_an_exchange_is_forgotten_with_it() -> None:
    model = Model()
    model.exchange("x", alternate="y")
    model.exchange("z", alternate="y")
    model.exchange("y")
    assert model.bumped("y") == {"x", "y", "z"}
    del model.exchanges["x"]
    assert model.bumped("y") == {"y", "z"}
    del model.exchanges["z"]
    assert not model.exchanges.naming


def test_a_change_in_a_cycle_is_seen_once() -> None:
    model = Model()
    x, y = model.exchange("x", alternate="y"), model.exchange("y")
    model.bind("x", y)
    model.bind("y", x)
    model.bind("x", x)
    assert model.bumped("x") == {"x", "y"}


NAMES = ["a", "b", "c", "d", "e"]
EDGES = st.sets(st.tuples(st.sampled_from(NAMES), st.sampled_from(NAMES)), max_size=10)
ALTERNATES = st.dictionaries(st.sampled_from(NAMES), st.sampled_from([*NAMES, "nowhere"]))


@given(EDGES, ALTERNATES)
def test_whoever_can_reach_a_queue_is_bumped_by_its_exchange(
    edges: set[tuple[str, str]], alternates: dict[str, str]
) -> None:
    model = Model()
    for name in NAMES:
        model.exchange(name, "direct", alternates.get(name))
    for source, destination in edges:
        model.bind(source, model.exchanges[destination])
    for name in NAMES:
        raised = model.bumped(name)
        made = model.bind(name, model.queue("q"))
        reaching = {other for other in NAMES if "q" in model.route(other, "k")}
        assert reaching <= raised
        made.source.unbind(made.identity)
