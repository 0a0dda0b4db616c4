"""Policies, parameters, limits and topic permissions over HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from amqpd.core import operations
from tests.support.control import Controlled

NOT_FOUND = {"error": "Object Not Found", "reason": "Not Found"}
POLICY = {"pattern": "^q", "definition": {"max-length": 5}, "priority": 2, "apply-to": "queues"}


# --------------------------------------------------------------------------------------------------- policies


@pytest.mark.parametrize("kind", ["policies", "operator-policies"])
def test_a_policy_comes_and_goes(broker: Controlled, kind: str) -> None:
    assert broker.request("PUT", f"{kind}/%2F/p", POLICY).status == 201
    assert broker.request("PUT", f"{kind}/%2F/p", POLICY).status == 204
    item = {"vhost": "/", "name": "p", **POLICY}
    assert broker.get(f"{kind}/%2F/p") == item
    assert broker.get(kind) == broker.get(f"{kind}/%2F") == [item]
    assert broker.delete(f"{kind}/%2F/p").status == 204
    assert broker.delete(f"{kind}/%2F/p").body == broker.request("GET", f"{kind}/%2F/p").body == NOT_FOUND
    assert broker.request("GET", f"{kind}/nowhere").status == 404


def test_a_queue_shows_its_policies(broker: Controlled) -> None:
    broker.put("queues/%2F/q")
    broker.request("PUT", "policies/%2F/mine", POLICY)
    broker.request("PUT", "operator-policies/%2F/theirs", POLICY | {"definition": {"max-length": 3, "expires": 9000}})
    item = broker.get("queues/%2F/q")
    assert (item["policy"], item["operator_policy"]) == ("mine", "theirs")
    assert item["effective_policy_definition"] == {"max-length": 3, "expires": 9000}
    broker.put("queues/%2F/other")
    item = broker.get("queues/%2F/other")
    assert (item["policy"], item["operator_policy"], item["effective_policy_definition"]) == (None, None, {})


def test_an_exchange_shows_its_policy(broker: Controlled) -> None:
    broker.put("policies/%2F/p", pattern="^amq.topic$", definition={"alternate-exchange": "spare"})
    assert broker.get("exchanges/%2F/amq.topic")["policy"] == "p"
    assert broker.get("exchanges/%2F/amq.direct")["policy"] is None


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"definition": {"max-length": 1}}, "'pattern' is missing"),
        ({"pattern": ""}, "'definition' is missing"),
        (
            {"pattern": "", "definition": {"max-age": 1, "foo": 1}},
            "Validation failed\n\n1 is not a valid max age\n",
        ),
        (
            {"pattern": "", "definition": {"foo": 1}},
            'Validation failed\n\n[{<<"foo">>,1}] are not recognised policy settings\n',
        ),
    ],
)
def test_what_is_no_policy_is_a_bad_request(broker: Controlled, body: dict[str, Any], reason: str) -> None:
    response = broker.request("PUT", "policies/%2F/p", body)
    assert (response.status, response.body) == (400, {"error": "bad_request", "reason": reason})


# ------------------------------------------------------------------------------------------------- parameters


def test_a_parameter_comes_and_goes(broker: Controlled) -> None:
    assert broker.put("parameters/shovel/%2F/s", value={"src": "x"}).status == 201
    assert broker.put("parameters/shovel/%2F/s", value={"src": "y"}).status == 204
    item = {"vhost": "/", "component": "shovel", "name": "s", "value": {"src": "y"}}
    for path in ("parameters", "parameters/shovel", "parameters/shovel/%2F"):
        assert broker.get(path) == [item]
    assert broker.get("parameters/shovel/%2F/s") == item
    assert broker.get("parameters/federation-upstream") == []
    assert broker.delete("parameters/shovel/%2F/s").status == 204
    assert broker.delete("parameters/shovel/%2F/s").body == NOT_FOUND


def test_policies_are_no_parameters_and_operator_policies_are(broker: Controlled) -> None:
    broker.request("PUT", "policies/%2F/p", POLICY)
    broker.request("PUT", "operator-policies/%2F/p", POLICY)
    assert [item["component"] for item in broker.get("parameters")] == ["operator_policy"]
    assert broker.request("GET", "parameters/policy/%2F/p").body == NOT_FOUND
    response = broker.put("parameters/policy/%2F/p", value=POLICY)
    assert (response.status, response.body["reason"]) == (400, "policies may not be set using this method")
    response = broker.put("parameters/nonsense/%2F/p", value={})
    assert response.body["reason"] == "Validation failed\n\ncomponent nonsense not found\n"


def test_a_global_parameter_comes_and_goes(broker: Controlled) -> None:
    assert broker.put("global-parameters/a", value=[1]).status == 201
    assert broker.get("global-parameters/a") == {"name": "a", "value": [1]}
    assert broker.get("global-parameters") == [{"name": "a", "value": [1]}]
    assert broker.put("global-parameters/a").status == 400
    assert broker.delete("global-parameters/a").status == 204
    assert broker.delete("global-parameters/a").body == NOT_FOUND


# ----------------------------------------------------------------------------------------------------- limits


def test_limits_of_a_virtual_host(broker: Controlled) -> None:
    assert broker.get("vhost-limits") == []
    assert broker.put("vhost-limits/%2F/max-queues", value=1).status == 204
    assert broker.put("vhost-limits/%2F/max-connections", value=-1).status == 204
    assert broker.get("vhost-limits") == [{"vhost": "/", "value": {"max-queues": 1, "max-connections": -1}}]
    assert broker.put("queues/%2F/a").status == 201
    response = broker.put("queues/%2F/b")
    assert (response.status, response.body["reason"]) == (
        400,
        "cannot declare queue 'b': queue limit in vhost '/' (1) is reached",
    )
    assert broker.delete("vhost-limits/%2F/max-queues").status == 204
    assert broker.put("queues/%2F/b").status == 201
    assert broker.put("vhost-limits/%2F/max-foo", value=1).status == 400
    assert broker.put("vhost-limits/%2F/max-queues", value="1").status == 400
    assert broker.delete("vhost-limits/%2F").status == 204 and broker.get("vhost-limits/%2F") == []


def test_limits_of_a_user(broker: Controlled) -> None:
    assert broker.put("user-limits/guest/max-channels", value=3).status == 204
    assert broker.put("user-limits/guest/max-connections", value=2).status == 204
    limits = {"max-channels": 3, "max-connections": 2}
    assert broker.get("user-limits") == broker.get("user-limits/guest") == [{"user": "guest", "value": limits}]
    assert broker.get("users/guest")["limits"] == limits
    assert broker.put("user-limits/guest/max-queues", value=2).status == 400
    assert broker.put("user-limits/nobody/max-channels", value=2).body == NOT_FOUND
    assert broker.delete("user-limits/guest/max-channels").status == 204
    assert broker.delete("user-limits/guest").status == 204 and broker.get("user-limits") == []


# ------------------------------------------------------------------------------------------ topic permissions


def test_topic_permissions_come_and_go(broker: Controlled) -> None:
    path = "topic-permissions/%2F/guest"
    assert broker.put(path, exchange="amq.topic", write="^a", read="^b").status == 201
    assert broker.put(path, exchange="amq.topic", write="^a", read="^c").status == 204
    assert broker.put(path, exchange="other", write="", read="").status == 201
    assert broker.put(path, exchange="other", write="(", read="").status == 400
    item = {"user": "guest", "vhost": "/", "exchange": "amq.topic", "write": "^a", "read": "^c"}
    for listing in (path, "topic-permissions", "vhosts/%2F/topic-permissions", "users/guest/topic-permissions"):
        assert [row["exchange"] for row in broker.get(listing)] == ["amq.topic", "other"]
        assert broker.get(listing)[0] == item
    assert broker.delete(f"{path}/other").status == 204
    assert broker.delete(f"{path}/other").body == NOT_FOUND
    assert broker.delete(path).status == 204
    assert broker.request("GET", path).body == NOT_FOUND


def test_a_topic_permission_holds_at_once_and_goes_with_its_virtual_host(broker: Controlled) -> None:
    broker.put("vhosts/v")
    broker.put("topic-permissions/v/guest", exchange="amq.topic", write="^a", read="")
    broker.delete("vhosts/v")
    broker.put("vhosts/v")
    assert broker.request("GET", "topic-permissions/v/guest").body == NOT_FOUND


# ---------------------------------------------------------------------------------- metadata of virtual hosts


def test_metadata_of_a_virtual_host_changes_where_the_body_says_so(broker: Controlled) -> None:
    broker.put("vhosts/v", description="one", tags="a,b")
    assert broker.put("vhosts/v", default_queue_type="quorum", tracing=True).status == 204
    item = broker.get("vhosts/v")
    assert (item["description"], item["tags"], item["default_queue_type"]) == ("one", ["a", "b"], "quorum")
    assert item["tracing"] is True and item["metadata"]["default_queue_type"] == "quorum"
    assert broker.put("vhosts/v", default_queue_type="nonsense").status == 400
    [row] = [row for row in broker.do(broker.world.catalog.load).vhosts if row.name == "v"]
    assert (row.default_queue_type, row.tracing) == ("quorum", True)


def test_a_protected_virtual_host_is_not_deleted(broker: Controlled) -> None:
    broker.put("vhosts/v")
    assert broker.request("POST", "vhosts/v/deletion/protection").status == 204
    response = broker.delete("vhosts/v")
    assert (response.status, response.body["error"]) == (412, "precondition_failed")
    assert broker.delete("vhosts/v/deletion/protection").status == 204
    assert broker.delete("vhosts/v").status == 204


def test_who_creates_a_virtual_host_may_do_everything_in_it(broker: Controlled) -> None:
    broker.put("vhosts/before")
    assert broker.get("vhosts/before/permissions") == []
    broker.put("users/amqpctl", password="", tags="")
    broker.put("vhosts/after")
    [item] = broker.get("vhosts/after/permissions")
    assert item == {"user": "amqpctl", "vhost": "after", "configure": ".*", "write": ".*", "read": ".*"}


def test_a_virtual_host_deleted_by_any_face_takes_its_permissions_along(broker: Controlled) -> None:
    broker.put("vhosts/v")
    broker.put("permissions/v/guest", configure="", write="", read="")
    broker.do(lambda: operations.delete_vhost(broker.world.broker, "v", lambda _: None))
    broker.put("vhosts/v")
    assert broker.request("GET", "permissions/v/guest").body == NOT_FOUND
