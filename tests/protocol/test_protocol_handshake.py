"""The handshake: what is offered, what is agreed, how each refusal looks (semantics of rabbit_reader)."""

from __future__ import annotations

import pytest
from pamqp import commands

from amqpd.protocol.states import State
from tests.support.world import Client, World


def start(world: World) -> tuple[Client, commands.Connection.Start]:
    client = Client(world)
    client.send(b"AMQP\x00\x00\x09\x01")
    (answer,) = client.frames()
    return client, answer


def login(client: Client, response: str = "\0guest\0guest", **capabilities: bool) -> list[object]:
    table = {"capabilities": capabilities} if capabilities else {}
    from amqpd.wire.tables import from_json

    return client.method(
        0,
        commands.Connection.StartOk,
        client_properties=from_json(table),
        mechanism="PLAIN",
        response=response,
        locale="en_US",
    )


def test_the_server_says_what_it_is(world: World) -> None:
    _, answer = start(world)
    assert isinstance(answer, commands.Connection.Start)
    assert (answer.version_major, answer.version_minor) == (0, 9)
    assert answer.mechanisms == "PLAIN AMQPLAIN"
    assert answer.locales == "en_US"
    assert answer.server_properties["product"] == "RabbitMQ"


def test_a_header_byte_by_byte_and_the_older_spelling() -> None:
    world = World()
    client = Client(world)
    for octet in b"AMQP\x01\x01\x00\x09":
        client.send(bytes((octet,)))
    assert isinstance(client.frames()[0], commands.Connection.Start)


@pytest.mark.parametrize("header", [b"AMQP\x00\x01\x00\x00", b"GET / HT", b"\x16\x03\x01\x02\x00\x01\x00\x01"])
def test_another_protocol_is_told_which_one_is_spoken(world: World, header: bytes) -> None:
    client = Client(world)
    client.send(header)
    assert client.frames() == [b"AMQP\x00\x00\x09\x01"]
    assert client.closed


def test_tune_offers_and_takes(world: World) -> None:
    client, _ = start(world)
    (tune,) = login(client)
    assert isinstance(tune, commands.Connection.Tune)
    assert (tune.channel_max, tune.frame_max, tune.heartbeat) == (2047, 131072, 60)
    client.method(0, commands.Connection.TuneOk, channel_max=10, frame_max=4096, heartbeat=5)
    assert client.session.frame_max == 4096
    assert client.session.state is State.OPENING


@pytest.mark.parametrize(
    ("tune", "text"),
    [
        ({"frame_max": 4095}, "negotiated frame_max = 4095 is lower than the minimum allowed value (4096)"),
        ({"frame_max": 131073}, "negotiated frame_max = 131073 is higher than the maximum allowed value (131072)"),
        ({"frame_max": 0}, "negotiated frame_max = 0 (no limit) is higher than the maximum allowed value (131072)"),
        ({"channel_max": 0}, "negotiated channel_max = 0 (no limit) is higher than the maximum allowed value (2047)"),
    ],
)
def test_a_tune_ok_out_of_bounds(world: World, tune: dict[str, int], text: str) -> None:
    client, _ = start(world)
    login(client)
    (close,) = client.method(
        0, commands.Connection.TuneOk, **{"channel_max": 2047, "frame_max": 131072, "heartbeat": 0, **tune}
    )
    assert isinstance(close, commands.Connection.Close)
    assert (close.reply_code, close.reply_text) == (530, f"NOT_ALLOWED - {text}")


def test_a_refused_login_is_told_to_those_who_understand(world: World) -> None:
    client, _ = start(world)
    (close,) = login(client, "\0guest\0wrong", authentication_failure_close=True)
    assert isinstance(close, commands.Connection.Close)
    assert close.reply_code == 403
    assert close.reply_text == (
        "ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN. For details see the broker logfile."
    )
    assert not client.closed
    world.tick(3000, client)
    assert client.closed


def test_a_refused_login_is_silence_for_the_others(world: World) -> None:
    client, _ = start(world)
    assert login(client, "\0guest\0wrong") == []
    world.tick(2000, client)
    assert not client.closed
    world.tick(1000, client)
    assert client.closed
    assert client.frames() == []


def test_a_malformed_response_and_an_unknown_mechanism_are_silence(world: World) -> None:
    client, _ = start(world)
    assert login(client, "guest") == []
    assert client.session.state is State.DOOMED


def test_a_virtual_host_that_is_not_there_or_not_allowed(world: World) -> None:
    client, _ = start(world)
    login(client)
    client.method(0, commands.Connection.TuneOk, channel_max=1, frame_max=4096, heartbeat=0)
    (close,) = client.method(0, commands.Connection.Open, virtual_host="nope")
    assert (close.reply_code, close.reply_text) == (530, "NOT_ALLOWED - vhost nope not found")
    world.rights.refused.add(("enter", "/"))
    client, _ = start(world)
    login(client)
    client.method(0, commands.Connection.TuneOk, channel_max=1, frame_max=4096, heartbeat=0)
    (close,) = client.method(0, commands.Connection.Open, virtual_host="/")
    assert close.reply_text == "NOT_ALLOWED - access to vhost '/' refused for user 'guest'"


def test_the_connection_limit(world: World) -> None:
    world.settings.max_connections = 1
    world.connect()
    client, _ = start(world)
    login(client)
    client.method(0, commands.Connection.TuneOk, channel_max=1, frame_max=4096, heartbeat=0)
    (close,) = client.method(0, commands.Connection.Open, virtual_host="/")
    assert close.reply_text == "NOT_ALLOWED - connection refused: node connection limit (1) is reached"


def test_a_method_out_of_order_closes_silently_before_the_login(world: World) -> None:
    client, _ = start(world)
    assert client.method(0, commands.Connection.TuneOk, channel_max=1, frame_max=4096, heartbeat=0) == []
    assert client.session.state is State.DOOMED


def test_a_client_that_says_nothing_is_cut_off(world: World) -> None:
    client = Client(world)
    world.tick(9000, client)
    assert not client.closed
    world.tick(1000, client)
    assert client.closed


def test_heartbeats_both_ways(world: World) -> None:
    client = world.connect(heartbeat=2)
    world.tick(1000, client)
    client.frames()
    world.tick(1000, client)
    assert client.received == b"\x08\x00\x00\x00\x00\x00\x00\xce"
    client.received = b""
    for _ in range(5):
        client.send(b"\x08\x00\x00\x00\x00\x00\x00\xce")
        world.tick(2000, client)
    assert not client.closed
    world.tick(6000, client)
    assert client.closed
    assert not world.broker.connections


def test_close_is_answered_and_everything_is_given_back(world: World) -> None:
    client = world.connect()
    client.open()
    client.declare("mine", exclusive=True)
    (answer,) = client.method(0, commands.Connection.Close, reply_code=200, reply_text="bye", class_id=0, method_id=0)
    assert isinstance(answer, commands.Connection.CloseOk)
    assert client.closed
    assert not world.broker.vhosts["/"].queues
    assert not world.broker.connections


def test_an_operator_closes_a_connection(world: World) -> None:
    client = world.connect()
    world.broker.close_connections("Closed via management plugin")
    world.run()
    (close,) = client.frames()
    assert (close.reply_code, close.reply_text) == (320, "CONNECTION_FORCED - Closed via management plugin")
    client.method(0, commands.Connection.CloseOk)
    assert client.closed
