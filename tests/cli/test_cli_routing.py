"""The commands that show where messages go, and apply."""

from __future__ import annotations

import json
import threading
from typing import Any

from pamqp import commands

from tests.support.control import Controlled, Ctl
from tests.support.proc import wait_until

C = commands


def topology(broker: Controlled) -> Any:
    """A queue `q`, bound to amq.topic with a.*; the client that has made it."""
    client = broker.connect()
    broker.do(lambda: client.declare("q", arguments={"x-max-length": 0, "x-overflow": "reject-publish"}))
    broker.do(lambda: client.method(1, C.Queue.Bind, queue="q", exchange="amq.topic", routing_key="a.*"))
    return client


def test_explain_route(broker: Controlled, ctl: Ctl) -> None:
    topology(broker)
    assert ctl("explain-route amq.topic a.b").output == (
        "exchange 'amq.topic', topic, by publish\n"
        "  binding \"a.*\" to queue 'q'\n"
        "queue 'q', classic, 0 consumers (full: reject-publish)\n"
        "routed\n"
    )
    assert ctl("explain-route amq.topic b").output == "exchange 'amq.topic', topic, by publish\nnot routed\n"
    assert ctl("explain-route", "", "q").output.endswith("routed\n")


def test_for_a_user(broker: Controlled, ctl: Ctl) -> None:
    topology(broker)
    found = json.loads(ctl("explain-route amq.topic a.b --user guest --formatter json").output)
    assert (found["refused"], found["routed"]) == (None, True)


def test_by_headers(broker: Controlled, ctl: Ctl) -> None:
    client = topology(broker)
    broker.do(lambda: client.method(1, C.Queue.Bind, queue="q", exchange="amq.match", arguments={"kind": "a"}))
    words = ("explain-route", "amq.match", "--headers", '{"kind": "a"}')
    assert '  binding "" {"kind": "a"} to queue \'q\'\n' in ctl(*words).output
    result = ctl("explain-route", "amq.match", "--headers", "{")
    assert result.exit_code == 69


def test_where_there_is_nothing(ctl: Ctl) -> None:
    result = ctl("explain-route -p missing x")
    assert (result.exit_code, result.stderr) == (
        65,
        "Error: There is no exchange 'x' in vhost 'missing', or no such vhost\n",
    )
    assert ctl("explain-route x").output == "refused: no exchange 'x' in vhost '/'\nnot routed\n"
    assert ctl("tail x --seconds 1").exit_code == 65


def queues(broker: Controlled) -> list[str]:
    return broker.do(lambda: list(broker.world.broker.vhosts["/"].queues))


def test_tail(broker: Controlled, ctl: Ctl) -> None:
    client = broker.connect()
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(ctl("tail amq.topic a.# --count 2 --seconds 20")))
    thread.start()
    topic = broker.world.broker.vhosts["/"].exchanges["amq.topic"]
    assert wait_until(lambda: bool(broker.do(lambda: topic.outgoing)), 20)
    for key, body in (("b", b"other"), ("a.b", b"text"), ("a", b"\xff")):
        broker.do(lambda key=key, body=body: client.publish("amq.topic", key, body, headers={"own": 1, "BCC": ["c"]}))
    thread.join(20)
    (result,) = results
    first, second = map(json.loads, result.output.splitlines())
    assert first == {
        "exchange": "amq.topic",
        "routing_key": "a.b",
        "properties": {"headers": {"own": 1}},
        "payload_bytes": 4,
        "payload": "text",
        "payload_encoding": "string",
    }
    assert (second["payload"], second["payload_encoding"]) == ("/w==", "base64")
    assert queues(broker) == []


def test_a_tail_ends_by_itself(broker: Controlled, ctl: Ctl) -> None:
    assert ctl("tail amq.topic --seconds 1").output == ""
    assert queues(broker) == []


def test_apply(broker: Controlled, ctl: Ctl) -> None:
    topology(broker)
    queue = {"name": "new", "vhost": "/", "durable": True, "auto_delete": False, "arguments": {}}
    document = json.dumps({"vhosts": [{"name": "/"}], "queues": [queue]})
    line = '+ queues vhost="/" name="new"\n'
    assert ctl("apply", "-", "--plan", input=document).output == line + "1 differences\n"
    assert queues(broker) == ["q"]
    assert ctl("apply", "-", "-q", input=document).output == line
    assert ctl("apply", "-", "--prune", input=document).output == "0 differences, applied\n"
    conflicting = json.dumps({"queues": [queue | {"arguments": {"x-max-length": 1}}]})
    result = ctl("apply", "-", "-q", input=conflicting)
    assert result.exit_code == 65
    assert '! queues vhost="/" name="new" arguments: {} -> {"x-max-length": 1}\n' in result.output
    less = json.dumps({"vhosts": [{"name": "/"}], "queues": []})
    assert ctl("apply", "-", "-q", "--prune", input=less).output == '- queues vhost="/" name="new"\n'
    assert queues(broker) == ["q"]
    assert ctl("apply", "-", input="[]").exit_code == 65
