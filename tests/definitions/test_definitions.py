"""Definitions out and in again: whole, one virtual host, over HTTP, and what is wrong with bad ones."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pamqp import commands

from amqpd.auth.passwords import hash_password, verify
from amqpd.auth.users import UserStore
from amqpd.core.ports import Snapshot
from amqpd.definitions import About, DefinitionsError, export, import_definitions, load, parse
from tests.support.control import Controlled
from tests.support.world import World

RABBITMQ = Path(__file__).parent / "rabbitmq-3.10.json"
ABOUT = About("RabbitMQ", "4.2.0", "testing")


class Filled:
    """A broker in memory with its users, to import into and export from."""

    def __init__(self, world: World | None = None) -> None:
        self.world = world or World()
        self.broker = self.world.broker
        self.users = UserStore(self.world.catalog.load(), self.world.catalog, self.broker.vhosts.__contains__)

    def bring(self, document: dict[str, Any], vhost: str | None = None) -> None:
        asyncio.run(import_definitions(self.broker, self.users, parse(json.dumps(document)), vhost))

    def load(self, path: Path, skip_if_unchanged: bool = False) -> None:
        asyncio.run(load(self.broker, self.users, path, skip_if_unchanged))

    def export(self, vhost: str | None = None) -> Any:
        only = self.broker.vhosts[vhost] if vhost is not None else None
        return json.loads("".join(export(self.broker, self.users, ABOUT, only).pieces()))

    def snapshot(self) -> Snapshot:
        return self.world.catalog.load()


@pytest.fixture
def filled() -> Filled:
    return Filled()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Controlled]:
    with Controlled(tmp_path) as controlled:
        yield controlled


# ------------------------------------------------------------------------------------ what RabbitMQ has exported


def test_an_export_of_rabbitmq_is_loaded_as_it_is(filled: Filled) -> None:
    filled.load(RABBITMQ)
    shop = filled.broker.vhosts["shop"]
    assert (shop.row.description, shop.row.tags) == ("The shop", ("production", "eu"))
    assert {name: queue.kind for name, queue in shop.queues.items()} == {
        "sac": "classic",
        "orders.classic": "classic",
        "orders.lazy": "classic",
        "log": "stream",
        "orders.quorum": "quorum",
        "short": "classic",
    }
    user = filled.users.get_user("orders-app")
    assert verify(b"orders secret", user.password_hash, user.hashing_algorithm)
    assert (user.tags, dict(filled.users.get_user("reader").limits)) == (
        ("management", "policymaker"),
        {"max-connections": 5, "max-channels": 10},
    )
    assert filled.users.find_permission("reader", "shop") is not None
    assert filled.users.find_topic_permission("reader", "shop", "events") is not None
    assert shop.limit("max-queues") == 50
    promises = shop.queues["orders.classic"].promises
    assert (promises.max_length, promises.overflow, promises.expires) == (500, "reject-publish", 3_600_000)
    assert shop.exchanges["events"].alternate == "unrouted"
    bound = {binding.destination.name for binding in shop.exchanges["events"].outgoing.values()}
    assert bound == {"audit", "orders.classic", "orders.quorum"}


def test_loading_twice_changes_nothing(filled: Filled) -> None:
    filled.load(RABBITMQ)
    before = filled.snapshot()
    filled.load(RABBITMQ)
    assert filled.snapshot() == before


# --------------------------------------------------------------------------------------------------- round trip


def test_what_is_exported_is_imported_elsewhere(filled: Filled) -> None:
    filled.load(RABBITMQ)
    document = filled.export()
    assert document["rabbitmq_definition_format"] == "cluster" and document["product_version"] == "4.2.0"
    other = Filled()
    other.bring(document)
    again = other.export()
    for name, items in document.items():
        if isinstance(items, list):
            key = lambda item: json.dumps(item, sort_keys=True)  # noqa: E731
            assert sorted(again[name], key=key) == sorted(items, key=key), name
    assert other.snapshot().next_queue_id == filled.snapshot().next_queue_id
    restarted = World(other.world.engine, other.world.catalog)
    assert set(restarted.broker.vhosts["shop"].queues) == {
        "sac",
        "orders.classic",
        "orders.lazy",
        "log",
        "orders.quorum",
    }


def test_what_belongs_to_a_connection_or_to_everybody_is_not_exported(filled: Filled) -> None:
    client = filled.world.connect()
    client.open()
    client.declare("mine", exclusive=True)
    client.declare("ours")
    for queue in ("mine", "ours"):
        client.method(1, commands.Queue.Bind, queue=queue, exchange="amq.direct", routing_key="k")
    filled.bring({"bindings": [binding("mine"), binding("ours")]})
    document = filled.export()
    assert [queue["name"] for queue in document["queues"]] == ["ours"]
    assert [found["destination"] for found in document["bindings"]] == ["ours"]
    assert document["exchanges"] == []


def binding(queue: str, vhost: str = "/") -> dict[str, Any]:
    return {
        "source": "amq.direct",
        "vhost": vhost,
        "destination": queue,
        "destination_type": "queue",
        "routing_key": "k",
        "arguments": {},
    }


def test_one_virtual_host_moves_into_another(filled: Filled) -> None:
    filled.load(RABBITMQ)
    document = filled.export("shop")
    assert document["rabbitmq_definition_format"] == "single_virtual_host"
    assert (document["original_vhost_name"], document["limits"]["max-queues"]) == ("shop", 50)
    assert "users" not in document and all("vhost" not in queue for queue in document["queues"])
    other = Filled()
    other.bring(document, "/")
    assert set(other.broker.vhosts["/"].queues) == set(filled.broker.vhosts["shop"].queues)
    assert other.broker.vhosts["/"].limit("max-queues") == 50
    assert other.broker.vhosts["/"].policies.named == filled.broker.vhosts["shop"].policies.named


# ------------------------------------------------------------------------------------------------ import, in parts


def test_what_exists_stays_as_it_is(filled: Filled) -> None:
    queue = {"name": "q", "vhost": "/", "durable": True, "auto_delete": False, "arguments": {"x-max-length": 1}}
    filled.bring({"queues": [queue]})
    filled.bring({"queues": [queue | {"arguments": {"x-max-length": 2}, "durable": False}]})
    assert filled.broker.vhosts["/"].queues["q"].promises.max_length == 1
    assert filled.broker.vhosts["/"].queues["q"].durable


def test_users_with_a_password_and_of_old_versions(filled: Filled) -> None:
    old = hash_password(b"old", "rabbit_password_hashing_md5")
    document = {
        "rabbit_version": "3.5.7",
        "users": [
            {"name": "a", "password": "plain", "tags": "administrator, monitoring"},
            {"name": "b", "password_hash": base64.b64encode(old).decode(), "tags": ""},
        ],
    }
    filled.bring(document)
    first, second = filled.users.get_user("a"), filled.users.get_user("b")
    assert first.tags == ("administrator", "monitoring") and second.tags == ()
    assert verify(b"plain", first.password_hash, first.hashing_algorithm)
    assert verify(b"old", second.password_hash, second.hashing_algorithm)


def test_the_type_beside_the_arguments_counts_where_another_is_the_default(filled: Filled) -> None:
    filled.broker.default_queue_type = "quorum"
    filled.bring(
        {
            "queues": [
                {"name": "a", "vhost": "/", "durable": True, "type": "classic", "arguments": {}},
                {"name": "b", "vhost": "/", "durable": True},
                {"name": "c", "vhost": "/", "durable": True, "type": "stream"},
            ]
        }
    )
    kinds = {name: queue.kind for name, queue in filled.broker.vhosts["/"].queues.items()}
    assert kinds == {"a": "classic", "b": "quorum", "c": "stream"}


@pytest.mark.parametrize(
    ("document", "text"),
    [
        ({"queues": [{"name": "q", "vhost": "nowhere"}]}, 'Please create virtual host "nowhere" prior to importing'),
        ({"queues": [{"name": "q"}]}, "Virtual host does not exist and is not specified in definitions file."),
        ({"queues": [{"vhost": "/"}]}, "'name' is missing"),
        (
            {"queues": [{"name": "q", "vhost": "/", "arguments": {"x-max-length": -1}}]},
            "queues[0] (name 'q', vhost '/'): invalid arg 'x-max-length' for queue 'q' in vhost '/': {value_negative",
        ),
        ({"queues": [{"name": "q", "vhost": "/", "durable": 1}]}, "'durable' is not a boolean"),
        ({"queues": [{"name": "q", "vhost": "/", "arguments": [1]}]}, "'arguments' is not an object"),
        ({"exchanges": [{"name": "x", "vhost": "/", "type": "x-none"}]}, "unknown exchange type 'x-none'"),
        (
            {"policies": [{"name": "p", "vhost": "/", "pattern": "", "definition": {"foo": 1}}]},
            "policies[0] (name 'p', vhost '/'): Validation failed [{<<\"foo\">>,1}] are not recognised policy settings",
        ),
        ({"parameters": [{"component": "x", "name": "p", "vhost": "/"}]}, "component x not found"),
        ({"users": [{"name": "u", "password_hash": "&"}]}, "users[0] (name 'u'): 'password_hash' is not base64"),
        ({"users": [{"name": "u", "limits": {"max-foo": 1}}]}, "Unrecognised terms"),
        (
            {"permissions": [{"user": "u", "vhost": "/", "configure": "", "write": "", "read": ""}]},
            "permissions[0] (user 'u', vhost '/'): User \"u\" does not exist",
        ),
        ({"bindings": [binding("q") | {"destination_type": "x"}]}, "'destination_type' is neither queue nor exchange"),
        ({"bindings": 5}, "bindings is not a list"),
        ({"queues": [5]}, "queues[0] is not an object"),
    ],
)
def test_a_bad_item_is_named(filled: Filled, document: dict[str, Any], text: str) -> None:
    with pytest.raises(DefinitionsError) as raised:
        filled.bring(document)
    assert text in str(raised.value)


def test_the_first_bad_item_ends_the_import_and_what_was_before_it_stays(filled: Filled) -> None:
    good = {"vhost": "/", "durable": True}
    items = [{"name": "a", **good}, {"name": "b", **good, "type": "nonsense"}, {"name": "c", **good}]
    with pytest.raises(DefinitionsError, match=r"queues\[1\] \(name 'b'"):
        filled.bring({"queues": items})
    assert set(filled.broker.vhosts["/"].queues) == {"a"}


def test_more_queues_than_a_virtual_host_may_have_are_not_begun(filled: Filled) -> None:
    limits = {"component": "vhost-limits", "vhost": "/", "name": "limits", "value": {"max-queues": 1}}
    queues = [{"name": name, "vhost": "/"} for name in "ab"]
    filled.bring({"parameters": [limits], "queues": queues})
    filled.bring({"queues": queues})
    with pytest.raises(DefinitionsError, match=r'Adding 1 queue\(s\) to virtual host "/" would exceed the limit of 1'):
        filled.bring({"queues": [*queues, {"name": "c", "vhost": "/"}]})


# ------------------------------------------------------------------------------------------------------- loading


def test_files_that_have_not_changed_are_skipped_when_that_is_wanted(filled: Filled, tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    file.write_text('{"vhosts": [{"name": "a"}]}')
    (tmp_path / "b.json").write_text('{"queues": [{"name": "q", "vhost": "a", "durable": true}]}')
    (tmp_path / "notes.txt").write_text("no definitions")
    filled.load(tmp_path, skip_if_unchanged=True)
    vhost = filled.broker.vhosts["a"]
    assert set(vhost.queues) == {"q"}
    again = Filled(World(filled.world.engine, filled.world.catalog))
    del again.broker.vhosts["a"]
    again.load(tmp_path, skip_if_unchanged=True)
    assert "a" not in again.broker.vhosts
    file.write_text('{"vhosts": [{"name": "a"}, {"name": "b"}]}')
    again.load(tmp_path, skip_if_unchanged=True)
    assert {"a", "b"} <= set(again.broker.vhosts)
    assert again.export()["global_parameters"] == [], "the hash is nobody else's affair"


def test_a_file_that_cannot_be_read_or_used_is_named(filled: Filled, tmp_path: Path) -> None:
    with pytest.raises(DefinitionsError, match=r"none\.json: No such file"):
        filled.load(tmp_path / "none.json")
    bad = tmp_path / "bad.json"
    bad.write_text("{")
    with pytest.raises(DefinitionsError, match=r"bad\.json: the definitions are not JSON"):
        filled.load(bad)


# ----------------------------------------------------------------------------------------------------- over HTTP


def test_over_http(broker: Controlled) -> None:
    assert broker.request("POST", "definitions", raw=RABBITMQ.read_bytes()).status == 204
    document = broker.get("definitions")
    assert {vhost["name"] for vhost in document["vhosts"]} == {"/", "shop"}
    assert broker.request("POST", "definitions", document).status == 204
    broker.put("vhosts/copy")
    response = broker.request("POST", "definitions/copy", broker.get("definitions/shop"))
    assert response.status == 204
    assert len(broker.get("queues/copy")) == len(broker.get("queues/shop")) == 6
    response = broker.request("POST", "definitions", {"queues": [{"name": "q"}]})
    assert (response.status, response.body["error"]) == (400, "bad_request")
    assert response.body["reason"].startswith("queues[0] (name 'q'): Virtual host does not exist")
    assert broker.request("POST", "definitions/nowhere", {}).status == 404
    assert broker.request("GET", "definitions?download=a%0Ab.json").headers["Content-Disposition"].endswith("=ab.json")


def test_as_a_form(broker: Controlled) -> None:
    boundary = "xyz"
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="d.json"\r\n\r\n'
    raw = head.encode() + b'{"vhosts": [{"name": "formed"}]}' + f"\r\n--{boundary}--\r\n".encode()
    headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    assert broker.request("POST", "definitions", raw=raw, headers=headers).status == 204
    assert broker.get("vhosts/formed")["name"] == "formed"
    assert broker.request("POST", "definitions", raw=b"--xyz--\r\n", headers=headers).status == 400


def test_a_document_larger_than_other_bodies_may_be(broker: Controlled) -> None:
    document = {"queues": [{"name": f"q{number}", "vhost": "/"} for number in range(1000)], "note": "x" * (2 << 20)}
    assert broker.request("POST", "definitions", document).status == 204
    assert broker.get("overview")["object_totals"]["queues"] == 1000
