"""Delayed messages over HTTP: how many, which, and away with one."""

from __future__ import annotations

from pamqp import commands

from tests.support.control import Controlled
from tests.support.world import WALL, Client

X = "exchanges/%2F/x"
NOT_FOUND = {"error": "Object Not Found", "reason": "Not Found"}


def waiting(broker: Controlled) -> Client:
    """A client, and three delayed messages of `x`; published in another order than they are due in."""
    broker.put(X, type="x-delayed-message", durable=True, arguments={"x-delayed-type": "direct"})
    broker.put("queues/%2F/q", durable=True)
    client = broker.connect()

    def publish() -> None:
        client.method(1, commands.Queue.Bind, queue="q", exchange="x", routing_key="k")
        for name, delay, mode in (("b", 2000, 2), ("c", 70_000, 1), ("a", 1000, 2)):
            client.publish("x", "k", b"body", headers={"x-delay": delay}, message_id=name, delivery_mode=mode)

    broker.do(publish)
    return client


def test_they_are_counted_and_listed_in_the_order_in_which_they_are_due(broker: Controlled) -> None:
    waiting(broker)
    assert broker.get(X)["messages_delayed"] == 3
    assert [item.get("messages_delayed") for item in broker.get("exchanges/%2F") if item["name"] in ("", "x")] == [
        None,
        3,
    ]
    found = broker.get(f"{X}/delayed")
    assert [item["properties"]["message_id"] for item in found] == ["a", "b", "c"]
    assert broker.get(f"{X}/delayed?count=2") == found[:2]
    assert found[0] == {
        "id": found[0]["id"],
        "vhost": "/",
        "exchange": "x",
        "deliver_at": WALL + 1000,
        "routing_key": "k",
        "persistent": True,
        "payload_bytes": 4,
        "properties": {"headers": {"x-delay": 1000}, "message_id": "a", "delivery_mode": 2},
    }


def test_one_is_cancelled_for_good(broker: Controlled) -> None:
    waiting(broker)
    ids = [item["id"] for item in broker.get(f"{X}/delayed")]
    assert broker.delete(f"{X}/delayed/{ids[1]}").status == 204
    assert broker.delete(f"{X}/delayed/{ids[2]}").status == 204
    assert broker.delete(f"{X}/delayed/{ids[1]}").status == 404
    assert [item["id"] for item in broker.get(f"{X}/delayed")] == ids[:1]
    assert broker.get(X)["messages_delayed"] == 1
    assert len(broker.do(broker.world.delayed)) == 1
    broker.do(lambda: broker.world.wait(100_000))
    assert broker.get("queues/%2F/q")["messages"] == 1


def test_the_default_exchange_has_some_too(broker: Controlled) -> None:
    client = waiting(broker)
    broker.do(lambda: client.publish("", "q", headers={"x-deliver-at": WALL + 5000}))
    (item,) = broker.get("exchanges/%2F/amq.default/delayed")
    assert (item["exchange"], item["deliver_at"]) == ("", WALL + 5000)
    assert broker.get("exchanges/%2F/amq.default")["messages_delayed"] == 1


def test_what_is_not_there(broker: Controlled) -> None:
    waiting(broker)
    assert broker.request("GET", "exchanges/%2F/y/delayed").status == 404
    assert broker.request("GET", "exchanges/nowhere/x/delayed").body == NOT_FOUND
    for name in ("1", "1-2", "a-b", "-"):
        assert broker.delete(f"{X}/delayed/{name}").status == 404
    assert broker.delete(f"exchanges/%2F/y/delayed/{WALL}-2").status == 404
    for count in ("0", "all", "-1", "10001"):
        assert broker.request("GET", f"{X}/delayed?count={count}").status == 400
