"""The instrument measures what it says: lengths are exact, what is lost is noticed, a cell runs from end to end."""

from __future__ import annotations

import subprocess
import sys
from array import array
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pamqp import commands

from tests.bench import frames, micro
from tests.bench.ask import Confirms
from tests.bench.campaign import campaign
from tests.bench.cells import CELLS, SHORT, chosen
from tests.bench.crew import Crew, LoadError
from tests.bench.flow import UniqueKeys
from tests.bench.guard import Guard
from tests.bench.lines import Replies, percentiles
from tests.bench.measure import Plan, measure
from tests.bench.report import Report
from tests.bench.rpc import reply, take_requests
from tests.bench.subjects import Subject
from tests.bench.topology import Topology
from tests.support import proc
from tests.support.broker import ROOT, BrokerProcess
from tests.support.rawclient import RawClient, pack_method, pack_publish
from tests.support.world import World

ACK = frames.ACK.pack


class Pieces:
    """A socket, and a client around it, that yields what it was given piece by piece."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = list(pieces)
        self.socket = self

    def take_buffered(self) -> bytes:
        return b""

    def settimeout(self, seconds: float | None) -> None: ...

    def setsockopt(self, *option: Any) -> None: ...

    def recv_into(self, view: memoryview) -> int:
        if not self.pieces:
            raise BlockingIOError
        piece = self.pieces.pop(0)
        view[: len(piece)] = piece
        return len(piece)


def delivery(tag: int, size: int = 16) -> bytes:
    """What a broker sends for one message of the simplest cell."""
    method = commands.Basic.Deliver("c0000", tag, False, "", "bench.0000")
    publish = pack_publish(1, "", "bench.0000", b"x" * size)
    return pack_method(1, method) + publish[publish.index(b"\xce") + 1 :]


@contextmanager
def bench() -> Iterator[tuple[Crew, Subject]]:
    with ExitStack() as stack:
        broker = stack.enter_context(BrokerProcess())
        guard = Guard()
        stack.callback(guard.close)
        crew = Crew(guard)
        stack.callback(crew.dismiss)
        yield crew, Subject("amqpd", broker.url, broker.pid)


@pytest.mark.parametrize("name", ["no-ack/16B", "no-ack/1KB", "no-ack/4MB"])
def test_a_delivery_has_the_computed_length(name: str) -> None:
    cell = CELLS[name]
    assert Topology(cell).delivery_length() == len(delivery(1, cell.size))


@pytest.mark.parametrize("name", ["fanout/10", "topic/1000", "headers/1000", "unique-keys", "priority"])
def test_all_messages_of_a_cell_are_of_one_length(name: str) -> None:
    assert len({len(template.whole) for template in Topology(CELLS[name]).templates(0)}) == 1


def test_a_stamped_publish_differs_in_its_stamp_only() -> None:
    template = frames.Template(1, "", "bench.0000", 64)
    assert template.stamped(b"x" * 8) == template.whole
    assert template.stamped(b"12345678").count(b"12345678") == 1


@pytest.mark.parametrize(("first", "last"), [(1, 1), (1, 100), (65_500, 65_600), (300_000, 500_000)])
def test_acks_are_those_of_the_tags(first: int, last: int) -> None:
    found = b"".join(bytes(piece) for piece in frames.Acks(3).of(first, last))
    assert found == b"".join(ACK(1, 3, 13, 60, 80, tag, 0, 0xCE) for tag in range(first, last + 1))


def test_unique_keys_never_repeat() -> None:
    template = frames.Template(1, "bench.x", "0" * 16, 16)
    blocks = UniqueKeys(template, 50)
    at, length = template.key_at, len(template.whole)
    keys = [
        block[start + at : start + at + 16] for block in (blocks(), blocks()) for start in range(0, 50 * length, length)
    ]
    assert len(set(keys)) == 100


@pytest.mark.parametrize("step", [1, 7, 150, 1000])
def test_replies_are_counted_however_they_are_cut(step: int) -> None:
    data = b"".join(delivery(tag) for tag in range(1, 11))
    client: Any = Pieces(*(data[at : at + step] for at in range(0, len(data), step)))
    replies = Replies(client, len(delivery(1)), tag_at=7 + 4 + 1 + 5)
    while client.pieces:
        replies.read()
    assert (replies.count, replies.have) == (10, 0)


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (delivery(1) + delivery(3), "delivery 2 has tag 3"),
        (delivery(1, 17) + delivery(2, 17), "a reply is not"),
        (b"", "the broker closed the connection"),
    ],
)
def test_what_is_not_as_it_must_be_is_noticed(data: bytes, complaint: str) -> None:
    client: Any = Pieces(data)
    with pytest.raises(LoadError, match=complaint):
        Replies(client, len(delivery(1)), tag_at=7 + 4 + 1 + 5).read()


def test_confirms_are_counted_in_any_order() -> None:
    def confirm(tag: int, multiple: int) -> bytes:
        return ACK(1, 1, 13, 60, 80, tag, multiple, 0xCE)

    data = confirm(1, 0) + confirm(3, 0) + confirm(6, 0) + confirm(2, 0) + confirm(4, 1) + confirm(7, 0)
    sock: Any = Pieces(data[:30], data[30:])
    confirms = Confirms(sock)
    assert [confirms.read(), confirms.read(), confirms.read()] == [1, 5, 0]
    assert (confirms.floor, confirms.loose) == (4, {6, 7})


def test_a_nack_is_not_a_confirm() -> None:
    sock: Any = Pieces(ACK(1, 1, 13, 60, 120, 1, 0, 0xCE))
    with pytest.raises(LoadError, match="a nack"):
        Confirms(sock).read()


def test_the_server_answers_complete_requests_to_their_address() -> None:
    properties = commands.Basic.Properties(reply_to="amq.rabbitmq.reply-to.somewhere")
    publish = pack_publish(1, "", "bench.0000", b"x" * 16, properties)
    request = pack_method(1, commands.Basic.Deliver("c0000", 1, False, "", "bench.0000"))
    request += publish[publish.index(b"\xce") + 1 :]
    rest, replies = take_requests(request + request[:-1], 16)
    assert rest == request[:-1]
    assert replies == [pack_publish(1, "", "amq.rabbitmq.reply-to.somewhere", b"x" * 16)]
    assert reply(b"\x03abc", 16) == pack_publish(1, "", "abc", b"x" * 16)


def test_percentiles() -> None:
    found = percentiles(array("q", range(0, 1_001_000_000, 1_000_000)))
    assert found == {"samples": 1001, "p50": 500.0, "p99": 990.0, "p99.9": 999.0, "max": 1000.0}


def test_cells_are_chosen_by_globs() -> None:
    assert [cell.name for cell in chosen(["rpc/*", "ttl"])] == ["ttl", "rpc/1", "rpc/50"]
    assert len(chosen(SHORT)) == len(SHORT)
    with pytest.raises(ValueError, match="no cell is named nothing"):
        chosen(["nothing"])


@pytest.mark.timeout(60)
def test_cells_run_from_end_to_end() -> None:
    names = ("ack-each/16B", "confirm/1KB", "get/16B", "publish/16B", "rpc/1", "connections/200x5", "declare/50")
    cells = [CELLS[name].scaled(0.01) for name in names]
    cells[5] = replace(cells[5], producers=4, consumers=4, queues=4)
    with bench() as (crew, subject):
        report = Report([subject], cells)
        campaign(report, crew, Plan(0.05, 0.1, 0.1), 1, 1)
    assert report.failures == []
    for cell in cells:
        (figures,) = report.runs[cell.name, subject.name]
        assert figures.per_second > 0 and figures.rss
    assert {name for name, _ in report.latencies} == {
        "ack-each/16B",
        "confirm/1KB",
        "get/16B",
        "rpc/1",
        "connections/200x5",
    }
    assert any("ack-each/16B" in line for line in report.table(verbose=True))
    assert report.as_json()["cells"]["ack-each/16B"]["brokers"]["amqpd"]["per_second"] > 0


@pytest.mark.timeout(60)
def test_a_message_that_somebody_else_takes_fails_the_cell_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    declare = Topology.declare
    clients = []

    def with_a_thief(topology: Topology, url: str, timeout: float) -> None:
        declare(topology, url, timeout)
        clients.append(RawClient.connected(url))
        clients[0].open_channel()
        clients[0].qos(1)
        clients[0].consume("bench.0000", "thief")

    monkeypatch.setattr(Topology, "declare", with_a_thief)
    monkeypatch.setattr("tests.bench.measure.PATIENCE", 0.5)
    monkeypatch.setattr("tests.bench.crew.PATIENCE", 5.0)
    with bench() as (crew, subject), pytest.raises(LoadError, match=r"no-ack/16B on amqpd: .*did not finish"):
        try:
            measure(crew, subject, CELLS["no-ack/16B"], Plan(0.05, 0.1, 0.0))
        finally:
            clients[0].abort()


@pytest.mark.parametrize("cell", micro.CELLS, ids=lambda cell: cell.name)
def test_the_micro_benchmark_delivers_everything(cell: micro.Micro) -> None:
    bench = micro.Bench(cell)
    for _ in range(3):
        bench.read()
        bench.deliver()
    bench.check()
    assert bench.world.failures == [] and isinstance(bench.world, World)


@pytest.mark.timeout(60)
def test_nothing_outlives_the_benchmark() -> None:
    source = (
        "import os, signal, subprocess, sys\n"
        "from tests.bench.guard import Guard\n"
        "child = subprocess.Popen(['sleep', '600'])\n"
        "Guard().watch(child.pid)\n"
        "print(child.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    run = subprocess.run([sys.executable, "-c", source], cwd=ROOT, stdout=subprocess.PIPE, check=False)
    assert proc.wait_until(lambda: not proc.alive(int(run.stdout)), 20.0)


def test_the_probed_node_reports(tmp_path: Path) -> None:
    from tests.bench.stall import ProbedBroker, Stalls

    with ProbedBroker() as broker:
        guard = Guard()
        stalls = Stalls(Subject("amqpd", broker.url, broker.pid), broker, Crew(guard), 16)
        found = stalls.ask()
        guard.close()
    assert found["stalls"] and all(len(stall) == 3 for stall in found["stalls"])
