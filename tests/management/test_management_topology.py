"""Exchanges, queues and bindings over HTTP."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from pamqp import commands

from amqpd.management import fields
from tests.support.control import Controlled

NOT_FOUND = {"error": "Object Not Found", "reason": "Not Found"}


# ---------------------------------------------------------------------------------------------------- queues


def test_a_queue_is_put_shown_and_deleted(broker: Controlled) -> None:
    arguments = {"x-max-length": 10, "x-overflow": "drop-head"}
    assert broker.put("queues/%2F/orders", durable=True, arguments=arguments).status == 201
    assert broker.put("queues/%2F/orders", durable=True, arguments=arguments).status == 204
    item = broker.get("queues/%2F/orders")
    expected = {
        "name": "orders",
        "vhost": "/",
        "type": "classic",
        "durable": True,
        "auto_delete": False,
        "exclusive": False,
        "arguments": arguments,
        "node": "amqpd@test",
        "state": "running",
        "messages": 0,
        "messages_ready": 0,
        "messages_unacknowledged": 0,
        "consumers": 0,
        "consumer_details": [],
    }
    assert item == item | expected
    assert broker.delete("queues/%2F/orders").status == 204
    assert broker.request("GET", "queues/%2F/orders").body == NOT_FOUND


def test_a_durable_queue_is_in_the_catalog(broker: Controlled) -> None:
    broker.put("queues/%2F/kept", durable=True)
    broker.put("queues/%2F/passing", durable=False)
    assert [row.name for row in broker.do(broker.world.catalog.load).queues] == ["kept"]


def test_a_queue_put_otherwise_is_refused(broker: Controlled) -> None:
    broker.put("queues/%2F/q", durable=True)
    response = broker.put("queues/%2F/q", durable=False)
    assert response.status == 400
    assert response.body["error"] == "bad_request"
    assert response.body["reason"].startswith("inequivalent arg 'durable' for queue 'q' in vhost '/'")


def test_counts_are_those_of_the_model(broker: Controlled) -> None:
    client = broker.connect()
    broker.do(lambda: client.declare("q"))
    for _ in range(3):
        broker.do(lambda: client.publish("", "q"))
    broker.do(lambda: client.method(1, commands.Basic.Get, queue="q", no_ack=False))
    item = broker.get("queues/%2F/q")
    assert (item["messages"], item["messages_ready"], item["messages_unacknowledged"]) == (3, 2, 1)
    assert broker.get("overview")["queue_totals"] == {
        "messages": 3,
        "messages_ready": 2,
        "messages_unacknowledged": 1,
    }


def test_counts_are_those_after_all_deliveries(broker: Controlled) -> None:
    client = broker.connect()
    broker.do(lambda: client.declare("q"))
    broker.do(lambda: client.consume("q"))

    def look_before_the_turn() -> tuple[object, object]:
        client.session.receive(client.publish_bytes(1, "", "q", b"x"), broker.world.now)
        item = fields.queue(broker.world.queue("q"), "node")
        return item["messages_ready"], item["messages_unacknowledged"]

    assert broker.do(look_before_the_turn) == (0, 1)


def test_purging_drops_what_is_ready_for_good(broker: Controlled) -> None:
    client = broker.connect()
    broker.do(lambda: client.declare("q", durable=True))
    broker.do(lambda: client.publish("", "q", delivery_mode=2))
    assert len(broker.do(broker.world.folded)["q"]) == 1
    assert broker.delete("queues/%2F/q/contents").status == 204
    assert broker.get("queues/%2F/q")["messages"] == 0
    assert broker.do(broker.world.folded) == {"q": []}
    assert broker.delete("queues/%2F/none/contents").body == NOT_FOUND


def test_conditions_of_a_deletion_hold(broker: Controlled) -> None:
    client = broker.connect()
    broker.do(lambda: client.declare("q"))
    broker.do(lambda: client.publish("", "q"))
    refused = broker.delete("queues/%2F/q?if-empty=true")
    assert (refused.status, refused.body["reason"]) == (400, "queue 'q' in vhost '/' not empty")
    broker.do(lambda: client.consume("q"))
    refused = broker.delete("queues/%2F/q?if-unused=true")
    assert (refused.status, refused.body["reason"]) == (400, "queue 'q' in vhost '/' in use")
    deleted = broker.delete("queues/%2F/q")
    assert (deleted.status, deleted.headers["X-Messages"]) == (204, "0")


def test_an_exclusive_queue_is_its_connections_alone(broker: Controlled) -> None:
    client = broker.connect()
    broker.do(lambda: client.declare("mine", exclusive=True))
    item = broker.get("queues/%2F/mine")
    assert item["exclusive"] is True
    assert item["owner_pid_details"] == {"name": client.session.name}
    response = broker.delete("queues/%2F/mine")
    assert response.status == 400
    assert "cannot obtain exclusive access to locked queue 'mine'" in response.body["reason"]


@pytest.mark.parametrize("name", ["a/b", "a%2Fb", "a b", "a+b", "ä€😀", "{x}", "a?b#c", "..", "a\tb", "~"])
def test_any_name_can_be_in_a_path(broker: Controlled, name: str) -> None:
    path = f"queues/%2F/{quote(name, safe='')}"
    assert broker.put(path).status == 201
    assert broker.get(path)["name"] == name
    assert [item["name"] for item in broker.get("queues/%2F")] == [name]
    assert broker.delete(path).status == 204


def test_a_name_has_at_most_255_octets(broker: Controlled) -> None:
    assert broker.put(f"queues/%2F/{quote('ä' * 127)}").status == 201
    assert broker.put(f"queues/%2F/{quote('ä' * 128)}").status == 400


def test_a_reserved_name_is_refused(broker: Controlled) -> None:
    assert broker.put("queues/%2F/amq.mine").status == 403


# -------------------------------------------------------------------------------------------------- exchanges


def test_an_exchange_is_put_shown_and_deleted(broker: Controlled) -> None:
    body = {"type": "topic", "durable": True, "internal": True, "arguments": {"alternate-exchange": "other"}}
    assert broker.request("PUT", "exchanges/%2F/x", body).status == 201
    assert broker.request("PUT", "exchanges/%2F/x", body).status == 204
    item = broker.get("exchanges/%2F/x")
    assert item == item | {"name": "x", "vhost": "/", "auto_delete": False, **body}
    assert broker.delete("exchanges/%2F/x").status == 204
    assert broker.delete("exchanges/%2F/x").body == NOT_FOUND


def test_the_default_exchange_has_a_name_in_paths(broker: Controlled) -> None:
    item = broker.get("exchanges/%2F/amq.default")
    assert (item["name"], item["type"], item["durable"]) == ("", "direct", True)
    assert "" in [item["name"] for item in broker.get("exchanges/%2F")]
    assert broker.delete("exchanges/%2F/amq.default").status == 403
    assert broker.put("exchanges/%2F/amq.default", type="direct").status == 403


def test_an_exchange_in_use_stays_if_asked(broker: Controlled) -> None:
    broker.put("exchanges/%2F/x", type="fanout")
    broker.put("queues/%2F/q")
    broker.post("bindings/%2F/e/x/q/q")
    assert broker.delete("exchanges/%2F/x?if-unused=true").status == 400
    assert broker.delete("exchanges/%2F/x").status == 204


def test_what_no_exchange_can_be_is_refused(broker: Controlled) -> None:
    assert broker.put("exchanges/%2F/x", type="nonsense").body["reason"] == "unknown exchange type 'nonsense'"
    assert broker.delete("exchanges/%2F/amq.direct").status == 403


# --------------------------------------------------------------------------------------------------- bindings


@pytest.fixture
def ends(broker: Controlled) -> str:
    """The path of the bindings between an exchange and a queue."""
    broker.put("exchanges/%2F/x", type="direct", durable=True)
    broker.put("queues/%2F/q", durable=True)
    return "bindings/%2F/e/x/q/q"


@pytest.mark.parametrize(
    ("routing_key", "key"),
    [("", "~"), ("a.b", "a.b"), ("a/b", "a%2Fb"), ("a b", "a+b"), ("~", "%7E"), ("a%2Fb", "a%252Fb"), ("#", "%23")],
)
def test_a_binding_is_told_by_its_key(broker: Controlled, ends: str, routing_key: str, key: str) -> None:
    response = broker.post(ends, routing_key=routing_key)
    assert response.status == 201
    assert response.headers["Location"] == f"q/{quote(key, safe='')}"
    (item,) = broker.get(ends)
    assert item == {
        "source": "x",
        "vhost": "/",
        "destination": "q",
        "destination_type": "queue",
        "routing_key": routing_key,
        "arguments": {},
        "properties_key": key,
    }
    assert broker.get(f"{ends}/{quote(key, safe='')}") == item
    # Clients that take the key for something that is encoded already.
    assert broker.get(f"{ends}/{key}") == item
    assert broker.delete(f"{ends}/{quote(key, safe='')}").status == 204
    assert broker.get(ends) == []
    assert broker.do(broker.world.catalog.load).bindings == []


def test_bindings_differ_by_their_arguments(broker: Controlled, ends: str) -> None:
    for arguments in ({}, {"a": 1}, {"a": 2}, {"a": 1, "b": 2}, {"b": 2, "a": 1}):
        broker.post(ends, routing_key="k", arguments=arguments)
    items = broker.get(ends)
    assert len(items) == 4
    assert len({item["properties_key"] for item in items}) == 4
    (one,) = [item for item in items if item["arguments"] == {"a": 2}]
    assert one["properties_key"].startswith("k~")
    assert broker.delete(f"{ends}/{one['properties_key']}").status == 204
    assert one not in broker.get(ends)
    assert len(broker.get(ends)) == 3


def test_exchanges_are_bound_to_exchanges(broker: Controlled) -> None:
    broker.put("exchanges/%2F/from", type="topic")
    broker.put("exchanges/%2F/to", type="fanout")
    assert broker.post("bindings/%2F/e/from/e/to", routing_key="a.#").headers["Location"] == "to/a.%2523"
    (item,) = broker.get("bindings/%2F/e/from/e/to")
    assert (item["destination"], item["destination_type"]) == ("to", "exchange")
    assert broker.request("GET", "bindings/%2F/e/from/q/to").body == NOT_FOUND


def test_every_queue_is_bound_to_the_default_exchange(broker: Controlled, ends: str) -> None:
    (item,) = broker.get("bindings")
    assert (item["source"], item["destination"], item["routing_key"]) == ("", "q", "q")
    path = "bindings/%2F/e/amq.default/q/q"
    assert broker.get(path) == [item]
    assert broker.get(f"{path}/q") == item
    assert broker.delete(f"{path}/q").status == 403
    assert broker.post(path, routing_key="other").status == 403


def test_bindings_need_both_ends(broker: Controlled, ends: str) -> None:
    assert broker.post("bindings/%2F/e/none/q/q").status == 404
    assert broker.post("bindings/%2F/e/x/q/none").status == 404
    assert broker.post("bindings/none/e/x/q/q").body == NOT_FOUND
    assert broker.request("GET", f"{ends}/none").body == NOT_FOUND


def test_a_topology_of_http_routes_for_amqp(broker: Controlled, ends: str) -> None:
    broker.post(ends, routing_key="k")
    client = broker.connect()
    broker.do(lambda: client.publish("x", "k"))
    assert broker.get("queues/%2F/q")["messages"] == 1
