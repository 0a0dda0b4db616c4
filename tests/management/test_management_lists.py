"""Columns, order and pages of lists."""

from __future__ import annotations

import socket

import pytest

from tests.support.control import Controlled


@pytest.fixture
def queues(broker: Controlled) -> Controlled:
    """Five queues in two virtual hosts."""
    broker.put("vhosts/other")
    for name in ("b", "a", "c", "ab"):
        broker.put(f"queues/%2F/{name}")
    broker.put("queues/other/z")
    client = broker.connect()
    for name in ("a", "a", "c"):
        broker.do(lambda name=name: client.publish("", name))  # type: ignore[misc]
    return broker


def names(items: list[dict[str, str]]) -> list[str]:
    return [item["name"] for item in items]


def test_lists_are_by_virtual_host_and_name(queues: Controlled) -> None:
    assert names(queues.get("queues")) == ["a", "ab", "b", "c", "z"]
    assert names(queues.get("queues/%2F")) == ["a", "ab", "b", "c"]
    assert queues.request("GET", "queues/none").status == 404


def test_lists_are_sorted_as_asked(queues: Controlled) -> None:
    assert names(queues.get("queues/%2F?sort=messages")) == ["b", "ab", "c", "a"]
    assert names(queues.get("queues/%2F?sort=messages&sort_reverse=true"))[:2] == ["a", "c"]
    assert names(queues.get("queues/%2F?sort=no.such.field"))[0] in "abc"


def test_columns_are_chosen(queues: Controlled) -> None:
    assert queues.get("queues/other?columns=name,messages") == [{"name": "z", "messages": 0}]
    assert queues.get("queues/other/z?columns=name") == {"name": "z"}
    client = queues.connect()
    queues.do(lambda: client.consume("a"))
    found = queues.get("consumers?columns=queue.name,channel_details.number,none.at_all,consumer_tag.x")
    assert found == [{"queue": {"name": "a"}, "channel_details": {"number": 1}}]


def test_pages(queues: Controlled) -> None:
    first = queues.get("queues?page=1&page_size=2&columns=name")
    assert first == {
        "items": [{"name": "a"}, {"name": "ab"}],
        "item_count": 2,
        "filtered_count": 5,
        "total_count": 5,
        "page": 1,
        "page_count": 3,
        "page_size": 2,
    }
    assert names(queues.get("queues?page=3&page_size=2")["items"]) == ["z"]


def test_pages_are_filtered_by_name(queues: Controlled) -> None:
    found = queues.get("queues?page=1&name=b&use_regex=false")
    assert (names(found["items"]), found["filtered_count"], found["total_count"]) == (["ab", "b"], 2, 5)
    # As KEDA asks.
    found = queues.get("queues/%2F?page=1&use_regex=true&pagination=false&name=%5Ea&page_size=100")
    assert names(found["items"]) == ["a", "ab"]
    assert queues.get("queues?page=1&name=nothing")["items"] == []


@pytest.mark.parametrize(
    "query", ["page=0", "page=x", "page=1&page_size=501", "page=1&page_size=0", "page=1&name=(&use_regex=true"]
)
def test_bad_pages_are_refused(queues: Controlled, query: str) -> None:
    response = queues.request("GET", f"queues?{query}")
    assert (response.status, response.body["error"]) == (400, "bad_request")


def test_a_page_behind_the_last_is_out_of_range(queues: Controlled) -> None:
    assert queues.request("GET", "queues?page=9").body["error"] == "page_out_of_range"


def test_a_long_list_is_complete_and_in_order(broker: Controlled) -> None:
    """Longer than a slice, so that it is made of several."""
    client = broker.connect()

    def declare() -> None:
        for number in reversed(range(1234)):
            client.declare(f"q{number:04}")

    broker.do(declare)
    assert names(broker.get("queues?columns=name")) == [f"q{number:04}" for number in range(1234)]
    backwards = broker.get("queues?sort=name&sort_reverse=true&page=2&page_size=500")
    assert names(backwards["items"]) == [f"q{number:04}" for number in reversed(range(234, 734))]


def test_who_asks_for_a_long_list_may_go(broker: Controlled, caplog: pytest.LogCaptureFixture) -> None:
    client = broker.connect()

    def declare() -> None:
        for number in range(5000):
            client.declare(f"a queue with a rather long name, number {number:04}")

    broker.do(declare)
    with socket.socket(socket.AF_UNIX) as asker:
        asker.connect(str(broker.path))
        asker.sendall(b"GET /api/queues HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert asker.recv(100).startswith(b"HTTP/1.1 200 OK")
    assert len(broker.get("queues?columns=name")) == 5000
    assert caplog.records == []


def test_a_head_request_has_no_body(queues: Controlled) -> None:
    response = queues.request("HEAD", "queues")
    assert (response.status, response.body) == (200, None)
    assert len(queues.get("queues")) == 5
