"""A document as a wish: what is different, what is done about it, and what is never done."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from amqpd.auth.users import UserStore
from amqpd.definitions import DefinitionsError, Step, apply, parse, plan
from tests.support.received import drain
from tests.support.world import Client, World


class Place:
    """A broker in memory with its users."""

    def __init__(self) -> None:
        self.world = World()
        self.broker = self.world.broker
        self.users = UserStore(self.world.catalog.load(), self.world.catalog, self.broker.vhosts.__contains__)

    def plan(self, document: dict[str, Any], only: str | None = None, prune: bool = False) -> list[Step]:
        return plan(self.broker, self.users, parse(json.dumps(document)), only, prune)

    def apply(self, document: dict[str, Any], only: str | None = None, prune: bool = False) -> list[Step]:
        found = asyncio.run(apply(self.broker, self.users, parse(json.dumps(document)), only, prune))
        self.world.run()
        return found

    def client(self) -> Client:
        client = self.world.connect()
        client.open()
        return client


@pytest.fixture
def place() -> Place:
    return Place()


def queue(name: str, **values: Any) -> dict[str, Any]:
    return {"name": name, "vhost": "/", "durable": True, "auto_delete": False, "arguments": {}, **values}


def binding(destination: str, key: str, **values: Any) -> dict[str, Any]:
    return {
        "source": "amq.topic",
        "vhost": "/",
        "destination": destination,
        "destination_type": "queue",
        "routing_key": key,
        "arguments": {},
        **values,
    }


SHOP: dict[str, Any] = {
    "users": [{"name": "app", "password": "secret", "tags": "monitoring"}],
    "vhosts": [{"name": "/"}],
    "permissions": [{"user": "app", "vhost": "/", "configure": "", "write": ".*", "read": ".*"}],
    "exchanges": [{"name": "x", "vhost": "/", "type": "direct", "durable": True, "auto_delete": False}],
    "policies": [{"name": "p", "vhost": "/", "pattern": "q", "definition": {"max-length": 5}}],
    "queues": [queue("q", arguments={"x-queue-type": "quorum", "x-expires": 10_000}), queue("r", type="classic")],
    "bindings": [binding("q", "a"), binding("q", "b")],
}


def actions(steps: list[Step]) -> list[tuple[str, str, str]]:
    return [(step.action, step.category, str(step.identity.get("name", step.identity))) for step in steps]


def test_everything_is_added_and_then_nothing_is_different(place: Place) -> None:
    first = place.plan(SHOP)
    assert {step.action for step in first} == {"add"}
    assert len(first) == 8
    assert place.broker.vhosts["/"].queues == {}
    assert place.apply(SHOP) == first
    assert set(place.broker.vhosts["/"].queues) == {"q", "r"}
    assert place.plan(SHOP, prune=True) == []


def test_what_has_changed(place: Place) -> None:
    place.apply(SHOP)
    changed = json.loads(json.dumps(SHOP))
    changed["users"][0] |= {"password": "other", "tags": ["monitoring"]}
    changed["permissions"][0]["read"] = "^q"
    changed["policies"][0]["definition"] = {"max-length": 6}
    steps = place.apply(changed)
    assert actions(steps) == [
        ("change", "users", "app"),
        ("change", "permissions", "{'user': 'app', 'vhost': '/'}"),
        ("change", "policies", "p"),
    ]
    assert [step.what for step in steps] == [
        "password",
        'read: ".*" -> "^q"',
        'definition: {"max-length": 5} -> {"max-length": 6}',
    ]
    assert place.plan(changed) == []


def test_what_cannot_be_changed_is_told_and_stays(place: Place) -> None:
    place.apply(SHOP)
    changed = json.loads(json.dumps(SHOP))
    changed["exchanges"][0]["type"] = "fanout"
    changed["queues"][0]["arguments"] = {"x-queue-type": "quorum", "x-expires": 20_000}
    steps = place.apply(changed)
    assert actions(steps) == [("conflict", "exchanges", "x"), ("conflict", "queues", "q")]
    assert steps[1].what == 'arguments: {"x-expires": 10000} -> {"x-expires": 20000}'
    assert place.broker.vhosts["/"].exchanges["x"].kind == "direct"


def test_without_prune_nothing_is_removed(place: Place) -> None:
    place.apply(SHOP)
    assert place.plan({"vhosts": [{"name": "/"}], "queues": [], "bindings": []}) == []


def test_prune_removes_what_is_not_there(place: Place) -> None:
    place.apply(SHOP)
    less = {**SHOP, "exchanges": [], "queues": SHOP["queues"][1:], "bindings": [], "policies": []}
    steps = place.plan(less, prune=True)
    assert sorted(actions(steps)) == sorted(
        [
            ("remove", "exchanges", "x"),
            ("remove", "policies", "p"),
            ("remove", "queues", "q"),
            *(("remove", "bindings", str(step.identity)) for step in steps if step.category == "bindings"),
        ]
    )
    assert len(steps) == 5
    place.apply(less, prune=True)
    vhost = place.broker.vhosts["/"]
    assert (set(vhost.queues), "x" in vhost.exchanges, vhost.exchanges["amq.topic"].outgoing) == ({"r"}, False, {})
    assert place.plan(less, prune=True) == []


def test_prune_looks_only_at_what_the_document_is_about(place: Place) -> None:
    place.apply(SHOP)
    assert place.plan({"vhosts": [{"name": "/"}]}, prune=True) == []
    assert place.plan({"vhosts": [{"name": "other"}], "queues": []}, prune=True) == [
        Step("add", "vhosts", {"name": "other"})
    ]
    assert place.plan({"users": [], "permissions": [], "vhosts": [{"name": "/"}]}, prune=True) == []


def test_prune_leaves_what_does_not_last(place: Place) -> None:
    client = place.client()
    client.declare("temporary")
    client.declare("auto", durable=True, auto_delete=True)
    client.declare("mine", exclusive=True)
    assert place.plan({"vhosts": [{"name": "/"}], "queues": [], "exchanges": []}, prune=True) == []


def test_prune_keeps_a_queue_that_is_in_use(place: Place) -> None:
    place.apply(SHOP)
    client = place.client()
    client.publish("", "r", b"still wanted", delivery_mode=2)
    document = {"vhosts": [{"name": "/"}], "queues": []}
    steps = place.apply(document, prune=True)
    assert [(step.action, step.identity["name"], step.what) for step in steps] == [
        ("remove", "q", ""),
        ("keep", "r", "it has 1 messages and 0 consumers"),
    ]
    assert [message.body for message in drain(client, "r")] == [b"still wanted"]
    client.consume("r")
    assert [step.what for step in place.plan(document, prune=True)] == ["it has 0 messages and 1 consumers"]


def test_one_virtual_host(place: Place) -> None:
    document = {
        "rabbitmq_definition_format": "single_virtual_host",
        "queues": [{"name": "q", "durable": True, "auto_delete": False, "arguments": {}}],
    }
    assert place.apply(document, "/") == [Step("add", "queues", {"vhost": "/", "name": "q"})]
    assert place.plan(document, "/", prune=True) == []
    assert actions(place.plan({**document, "queues": []}, "/", prune=True)) == [("remove", "queues", "q")]
    with pytest.raises(DefinitionsError, match='Please create virtual host "missing"'):
        place.plan(document, "missing")
