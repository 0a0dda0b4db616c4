"""Connections, channels and consumers over HTTP."""

from __future__ import annotations

from urllib.parse import quote

from pamqp import commands

from tests.support.control import Controlled

NOT_FOUND = {"error": "Object Not Found", "reason": "Not Found"}


def test_connections_are_listed_shown_and_closed(broker: Controlled) -> None:
    client = broker.connect()
    name = client.session.name
    (item,) = broker.get("connections")
    assert (item["name"], item["user"], item["vhost"], item["state"]) == (name, "guest", "/", "running")
    assert (item["channels"], item["node"]) == (1, "amqpd@test")
    path = f"connections/{quote(name, safe='')}"
    assert broker.get(path) == item
    response = broker.request("DELETE", path, headers={"X-Reason": "lunch"})
    assert response.status == 204
    broker.do(broker.world.run)
    (closed,) = broker.do(client.frames)
    assert isinstance(closed, commands.Connection.Close)
    assert (closed.reply_code, closed.reply_text) == (320, "CONNECTION_FORCED - lunch")
    assert broker.get("connections") == []
    assert broker.delete(path).body == NOT_FOUND


def test_channels_are_listed(broker: Controlled) -> None:
    client = broker.connect()
    broker.do(lambda: client.open(7))
    first, second = broker.get("channels")
    assert (first["number"], second["number"]) == (1, 7)
    assert second["name"] == f"{client.session.name} (7)"
    assert second["connection_details"]["name"] == client.session.name


def test_consumers_are_listed(broker: Controlled) -> None:
    client = broker.connect()
    broker.do(lambda: client.declare("q"))
    broker.do(lambda: client.method(1, commands.Basic.Qos, prefetch_count=5))
    broker.do(lambda: client.consume("q", "tag", exclusive=True))
    (item,) = broker.get("consumers/%2F")
    assert item == {
        "consumer_tag": "tag",
        "queue": {"name": "q", "vhost": "/"},
        "channel_details": {
            "name": f"{client.session.name} (1)",
            "number": 1,
            "connection_name": client.session.name,
            "user": "guest",
            "node": "amqpd@test",
        },
        "ack_required": True,
        "exclusive": True,
        "prefetch_count": 5,
        "active": True,
        "activity_status": "up",
        "arguments": {},
    }
    queue = broker.get("queues/%2F/q")
    assert (queue["consumers"], queue["exclusive_consumer_tag"]) == (1, "tag")
    assert queue["consumer_details"] == [item]
    assert broker.get("consumers") == [item]
    assert broker.request("GET", "consumers/none").body == NOT_FOUND


def test_a_virtual_host_takes_its_connections_along(broker: Controlled) -> None:
    client = broker.connect()
    assert broker.delete("vhosts/%2F").status == 204
    broker.do(broker.world.run)
    assert isinstance(broker.do(client.frames)[-1], commands.Connection.Close)
