"""Virtual hosts, users and permissions over HTTP."""

from __future__ import annotations

import base64

import pytest

from amqpd.auth.passwords import hash_password
from tests.support.control import Controlled

NOT_FOUND = {"error": "Object Not Found", "reason": "Not Found"}


# ---------------------------------------------------------------------------------------------- virtual hosts


def test_a_virtual_host_comes_and_goes(broker: Controlled) -> None:
    assert broker.put("vhosts/a%2Fb", description="Testing", tags="x, y").status == 201
    assert broker.request("PUT", "vhosts/a%2Fb").status == 204
    item = broker.get("vhosts/a%2Fb")
    assert (item["name"], item["description"], item["tags"]) == ("a/b", "Testing", ["x", "y"])
    assert [item["name"] for item in broker.get("vhosts")] == ["/", "a/b"]
    assert "amq.topic" in [item["name"] for item in broker.get("exchanges/a%2Fb")]
    assert broker.delete("vhosts/a%2Fb").status == 204
    assert broker.delete("vhosts/a%2Fb").body == NOT_FOUND


def test_with_a_virtual_host_go_its_permissions(broker: Controlled) -> None:
    broker.put("vhosts/v")
    broker.put("permissions/v/guest", configure="", write="", read="")
    broker.delete("vhosts/v")
    broker.put("vhosts/v")
    assert broker.request("GET", "permissions/v/guest").body == NOT_FOUND
    assert [row.vhost for row in broker.do(broker.world.catalog.load).permissions] == ["/"]


# ------------------------------------------------------------------------------------------------------ users


def test_a_user_comes_and_goes(broker: Controlled) -> None:
    assert broker.put("users/bob", password="secret", tags="management, own").status == 201
    item = broker.get("users/bob")
    assert (item["name"], item["tags"], item["limits"]) == ("bob", ["management", "own"], {})
    assert item["hashing_algorithm"] == "rabbit_password_hashing_sha256"
    assert len(base64.b64decode(item["password_hash"])) == 36
    assert broker.put("users/bob", password="other", tags=["administrator"]).status == 204
    assert broker.get("users/bob")["tags"] == ["administrator"]
    assert [item["name"] for item in broker.get("users")] == ["bob", "guest"]
    assert broker.delete("users/bob").status == 204
    assert broker.delete("users/bob").body == NOT_FOUND


def test_a_user_is_put_with_a_hash(broker: Controlled) -> None:
    algorithm = "rabbit_password_hashing_sha512"
    encoded = base64.b64encode(hash_password(b"secret", algorithm)).decode()
    body = {"password_hash": encoded, "hashing_algorithm": algorithm, "tags": []}
    assert broker.request("PUT", "users/bob", body).status == 201
    item = broker.get("users/bob")
    assert item == item | body


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"password": "x"}, "'tags' is missing"),
        ({"password": 1, "tags": ""}, "'password' is not a string"),
        ({"password_hash": "%%", "tags": ""}, "'password_hash' is not base64"),
        ({"password": "x", "password_hash": "", "tags": ""}, "both password and password_hash are provided"),
        ({"password_hash": "", "hashing_algorithm": "rot13", "tags": ""}, "unknown password hashing algorithm 'rot13'"),
        ({"tags": [1]}, "'tags' is neither a list of strings nor a string with commas"),
    ],
)
def test_what_is_no_user_is_refused(broker: Controlled, body: dict[str, object], reason: str) -> None:
    response = broker.request("PUT", "users/bob", body)
    assert (response.status, response.body) == (400, {"error": "bad_request", "reason": reason})


# ------------------------------------------------------------------------------------------------ permissions


def test_permissions_come_and_go(broker: Controlled) -> None:
    broker.put("users/bob", password="", tags="")
    patterns = {"configure": "^a", "write": ".*", "read": ""}
    assert broker.put("permissions/%2F/bob", **patterns).status == 201
    assert broker.put("permissions/%2F/bob", **patterns).status == 204
    item = {"user": "bob", "vhost": "/", **patterns}
    assert broker.get("permissions/%2F/bob") == item
    assert broker.get("users/bob/permissions") == [item]
    assert [item["user"] for item in broker.get("vhosts/%2F/permissions")] == ["bob", "guest"]
    assert broker.get("permissions") == broker.get("vhosts/%2F/permissions")
    assert broker.delete("permissions/%2F/bob").status == 204
    assert broker.delete("permissions/%2F/bob").body == NOT_FOUND


def test_what_is_no_permission_is_refused(broker: Controlled) -> None:
    path = "permissions/%2F/guest"
    assert broker.put(path, configure="", write="").body["reason"] == "'read' is missing"
    response = broker.put(path, configure="(", write="", read="")
    assert response.status == 400
    assert response.body["reason"].startswith("invalid regular expression '('")
    assert broker.put("permissions/%2F/none", configure="", write="", read="").body == NOT_FOUND
    assert broker.put("permissions/none/guest", configure="", write="", read="").body == NOT_FOUND
