"""The socket, the node's own routes, and how errors look."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import stat
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from amqpd.core.ports import Change, Committed
from amqpd.management import fields
from amqpd.management.control import bound_socket
from tests.support.control import Controlled

# ------------------------------------------------------------------------------------------------- the socket


def test_only_its_owner_can_open_the_socket(broker: Controlled) -> None:
    assert stat.S_IMODE(broker.path.stat().st_mode) == 0o600


def test_the_socket_goes_with_the_node(tmp_path: Path) -> None:
    with Controlled(tmp_path) as broker:
        assert broker.path.exists()
    assert not broker.path.exists()


def test_a_socket_left_behind_is_replaced(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(tmp_path / "control.sock"))
    with Controlled(tmp_path) as broker:
        assert broker.get("whoami")["name"] == "amqpctl"


def test_what_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    path.write_text("mine")
    with pytest.raises(OSError, match="the control socket cannot be made"):
        bound_socket(path)
    assert path.read_text() == "mine"


def test_a_path_too_long_for_a_socket_is_said(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="the control socket cannot be made"):
        bound_socket(tmp_path / ("long" * 50))


def test_the_mask_for_new_files_is_what_it_was(broker: Controlled) -> None:
    mask = os.umask(0o22)
    os.umask(mask)
    assert mask == 0o22


# --------------------------------------------------------------------------------------------------- the node


def test_the_overview(broker: Controlled) -> None:
    broker.put("queues/%2F/q")
    item = broker.get("overview")
    assert (item["rabbitmq_version"], item["amqpd_version"], item["cluster_name"]) == ("4.2.0", "0.1.0", "testing")
    assert item["object_totals"] == {"connections": 0, "channels": 0, "consumers": 0, "queues": 1, "exchanges": 7}
    assert item["listeners"] == [{"node": "amqpd@test", "protocol": "amqp", "ip_address": "127.0.0.1", "port": 5672}]
    assert {"name": "topic", "description": "", "enabled": True} in item["exchange_types"]
    assert broker.get("overview?columns=node,object_totals.queues") == {
        "node": "amqpd@test",
        "object_totals": {"queues": 1},
    }


def test_the_node(broker: Controlled) -> None:
    (item,) = broker.get("nodes")
    assert (item["name"], item["running"], item["os_pid"]) == ("amqpd@test", True, str(os.getpid()))
    assert 0 < item["mem_used"] < item["mem_limit"]
    assert item["disk_free"] > item["disk_free_limit"] == 50_000_000
    assert (item["mem_alarm"], item["disk_free_alarm"], item["alarms"]) == (False, False, {})
    assert broker.get("nodes/amqpd@test")["name"] == "amqpd@test"
    assert broker.request("GET", "nodes/other").status == 404


def test_alarms(broker: Controlled) -> None:
    for check in ("alarms", "local-alarms"):
        assert broker.get(f"health/checks/{check}") == {"status": "ok"}
    assert broker.put("node/memory-high-watermark", absolute=1000).status == 204
    assert broker.put("node/disk-free-limit", relative=1000).status == 204
    (item,) = broker.get("nodes")
    assert (item["mem_alarm"], item["mem_limit"], item["disk_free_alarm"]) == (True, 1000, True)
    assert item["alarms"]["memory"].endswith(" MB used, limit 0.0 MB")
    for check, where in (("alarms", "in the cluster"), ("local-alarms", "on the node")):
        response = broker.request("GET", f"health/checks/{check}")
        assert response.status == 503
        assert response.body == {
            "status": "failed",
            "reason": f"There are alarms in effect {where}",
            "alarms": [
                {"node": "amqpd@test", "resource": "memory"},
                {"node": "amqpd@test", "resource": "disk space"},
            ],
        }
    broker.put("node/memory-high-watermark", relative=0.9)
    broker.put("node/disk-free-limit", absolute=0)
    assert broker.get("health/checks/alarms") == {"status": "ok"}


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"absolute": 1, "relative": 0.5},
        {"absolute": "1GB"},
        {"absolute": -1},
        {"absolute": True},
        {"absolute": 1.5},
        {"relative": 1.1},
        {"relative": -0.1},
        {"relative": "0.4"},
        {"relative": float("nan")},
        {"relative": False},
    ],
)
def test_a_limit_that_is_none(broker: Controlled, body: dict[str, object]) -> None:
    before = broker.node.resources.limits
    response = broker.request("PUT", "node/memory-high-watermark", body)
    assert (response.status, response.body["error"]) == (400, "bad_request")
    assert broker.node.resources.limits == before


def test_who_asks_through_the_socket_is_administrator(broker: Controlled) -> None:
    assert broker.get("whoami") == {"name": "amqpctl", "tags": ["administrator"], "is_internal_user": True}


def test_stop_asks_the_node(broker: Controlled) -> None:
    response = broker.request("PUT", "node/stop")
    assert (response.status, response.body) == (202, {"name": "amqpd@test", "os_pid": str(os.getpid())})
    assert broker.stops == ["asked to by 'amqpctl'"]


# ----------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize("path", ["", "nonsense", "queues/%2F/q/nonsense", "bindings/%2F/e/x/z/q", "queues/"])
def test_a_path_that_names_nothing(broker: Controlled, path: str) -> None:
    response = broker.request("GET", path)
    assert (response.status, response.body) == (404, {"error": "Object Not Found", "reason": "Not Found"})


def test_a_method_that_is_not_there(broker: Controlled) -> None:
    response = broker.request("POST", "overview")
    assert (response.status, response.body["error"]) == (405, "method_not_allowed")
    assert response.headers["Allow"] == "GET,HEAD"


@pytest.mark.parametrize("raw", [b"{", b"[]", b'"x"', b"\xff\xfe\xfd", b"[" * 100_000])
def test_a_body_that_is_no_json_object(broker: Controlled, raw: bytes) -> None:
    response = broker.request("PUT", "queues/%2F/q", raw=raw)
    assert (response.status, response.body["error"]) == (400, "bad_request")
    assert broker.get("queues") == []


@pytest.mark.parametrize(
    "body",
    [
        {"durable": "yes"},
        {"durable": 1},
        {"auto_delete": None},
        {"arguments": [1]},
        {"arguments": {"x": 2**64}},
        {"arguments": {"x" * 256: 1}},
        {"arguments": {"x-max-length": "many"}},
    ],
)
def test_a_field_that_is_not_what_it_should_be(broker: Controlled, body: dict[str, object]) -> None:
    assert broker.request("PUT", "queues/%2F/q", body).status == 400


def test_rabbitmqs_spellings_are_understood(broker: Controlled) -> None:
    body: dict[str, object] = {"durable": "true", "auto_delete": "false", "arguments": []}
    assert broker.request("PUT", "queues/%2F/q", body).status == 201
    assert broker.get("queues/%2F/q")["durable"] is True


def test_a_body_too_large(broker: Controlled) -> None:
    response = broker.request("PUT", "queues/%2F/q", raw=b" " * (2 << 20))
    assert response.status == 413


def test_a_fault_of_ours_is_logged_and_answered(
    broker: Controlled, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> dict[str, object]:
        raise RuntimeError("on purpose")

    broker.put("queues/%2F/q")
    monkeypatch.setattr(fields, "queue", broken)
    with caplog.at_level(logging.ERROR, "amqpd.management"):
        response = broker.request("GET", "queues/%2F/q")
    assert (response.status, response.body["error"]) == (500, "internal_server_error")
    assert "on purpose" in caplog.text


# ------------------------------------------------------------------------------------------------- the catalog


class SlowCatalog:
    """Ends each commit a pass of the loop later, well or badly."""

    def __init__(self, broker: Controlled, error: Exception | None = None) -> None:
        self.submit_now = broker.world.catalog.submit
        self.error = error

    def submit(self, changes: Sequence[Change], done: Committed) -> None:
        loop = asyncio.get_running_loop()
        if self.error is not None:
            loop.call_soon(done, self.error)
        else:
            loop.call_soon(self.submit_now, changes, done)


def test_an_answer_waits_for_the_commit(broker: Controlled, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broker.world.catalog, "submit", SlowCatalog(broker).submit)
    assert broker.put("queues/%2F/q", durable=True).status == 201
    assert broker.get("queues/%2F/q")["durable"] is True
    assert broker.put("users/bob", password="x", tags="").status == 201


def test_a_commit_that_fails_is_an_error(broker: Controlled, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broker.world.catalog, "submit", SlowCatalog(broker, OSError("disk full")).submit)
    response = broker.put("queues/%2F/q", durable=True)
    assert (response.status, response.body["error"]) == (500, "internal_server_error")
    assert response.body["reason"] == "the change could not be written to the catalog: disk full"
    assert broker.get("queues") == []


def test_a_stop_does_not_wait_for_a_commit_that_never_comes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("amqpd.management.server.STOP_GRACE", 0.05)
    submitted = threading.Event()
    late: list[Committed] = []

    def never(changes: Sequence[Change], done: Committed) -> None:
        late.append(done)
        submitted.set()

    with Controlled(tmp_path) as broker:
        monkeypatch.setattr(broker.world.catalog, "submit", never)
        monkeypatch.setattr(threading, "excepthook", lambda _: None)
        asker = threading.Thread(target=broker.put, args=("queues/%2F/q",), kwargs={"durable": True})
        asker.start()
        assert submitted.wait(10)
    asker.join(10)
    assert not asker.is_alive()
    late[0](None)
