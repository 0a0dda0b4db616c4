"""The broker in this process, without sockets: `python -m tests.bench micro` shows in seconds what a change has done.

Octets of prepared publishes go into a publisher's session, turns run, deliveries come out of a consumer's session as
octets that are counted, acks go in. Everything between is real, with a journal that keeps its batches in memory; only
doors that the server uses are used. Besides time, memory is looked at, per message:

    read       blocks of the allocator that live between reading the publishes and the turn that delivers them
    peak       octets at the worst moment of reading and delivering a block of messages
    parked     blocks, octets and objects that the collector must look at, of a message in a queue that nobody reads
    gc 0/1/2   collections of each generation for a million messages

PyPy has no such allocator; there the columns stay empty.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

from pamqp import commands

from tests.bench import frames
from tests.bench.cells import SIZES
from tests.support.world import Client, World

__all__ = ["CELLS", "Micro", "Result", "main", "run"]

QUEUE = "bench.0000"
TAG = "c0000"
PREFETCH = 100
READ = 256 * 1024
"""Octets that a socket yields at a time, with asyncio."""

READ_MESSAGES = 1500
"""Messages that a session takes without a break: fewer than its allowance."""

PARKED = 5_000
WARM = {"cpython": 3, "pypy": 60}
"""Blocks before the clock starts."""

ROUNDS = 5


@dataclass(frozen=True)
class Micro:
    """One way for messages through the broker."""

    name: str
    size: int
    ack: str = ""
    confirm: bool = False
    persistent: bool = False


@dataclass
class Result:
    """Microseconds of a message in the best round, and memory (None where that is not known)."""

    micros: float
    read_blocks: float | None = None
    peak_octets: float | None = None
    parked_blocks: float | None = None
    parked_octets: float | None = None
    parked_tracked: float | None = None
    collections: list[float] | None = None


CELLS = [
    Micro(f"{name}/{label}", SIZES[label], **kind)
    for label in ("16B", "1KB")
    for name, kind in (
        ("no-ack", {}),
        ("ack-each", {"ack": "each"}),
        ("ack-multiple", {"ack": "multiple"}),
        ("confirm", {"confirm": True}),
        ("persistent-confirm-ack", {"ack": "multiple", "confirm": True, "persistent": True}),
    )
]


class Ear(Client):
    """A client that counts what it is sent and keeps none of it."""

    counting = False
    octets = 0

    def write(self, data: bytes) -> None:
        if self.counting:
            self.octets += len(data)
        else:
            super().write(data)


class Bench:
    """A world with a publisher and, unless messages are to stay, a consumer."""

    def __init__(self, micro: Micro, consumed: bool = True) -> None:
        self.micro = micro
        self.world = World()
        self.publisher, self.consumer = Ear(self.world), Ear(self.world)
        for client in (self.publisher, self.consumer):
            client.handshake()
            client.open()
        self.publisher.declare(QUEUE, durable=True)
        if micro.confirm:
            self.publisher.method(1, commands.Confirm.Select)
        if consumed and micro.ack:
            self.consumer.method(1, commands.Basic.Qos, prefetch_count=PREFETCH)
        if consumed:
            self.consumer.consume(QUEUE, TAG, no_ack=not micro.ack)
        properties = commands.Basic.Properties(delivery_mode=2 if micro.persistent else None)
        template = frames.Template(1, "", QUEUE, micro.size, properties)
        length = frames.properties_length(properties)
        self.length = frames.delivery_length(TAG, "", QUEUE, micro.size, length)
        self.count = min(READ // len(template.whole), READ_MESSAGES)
        self.block = template.whole * self.count
        self.acks = frames.Acks(1)
        self.published = self.acked = 0
        for client in (self.publisher, self.consumer):
            client.counting = True

    def read(self) -> None:
        """A block of publishes comes in."""
        self.publisher.session.receive(self.block, self.world.now)
        self.published += self.count

    def deliver(self) -> None:
        """Turns run until all is delivered and settled."""
        world, consumer, session = self.world, self.consumer, self.consumer.session
        world.run()
        while self.micro.ack and self.acked < self.published:
            delivered = consumer.octets // self.length
            if delivered == self.acked:
                raise AssertionError(f"{self.micro.name}: {self.published} published, {delivered} delivered")
            if self.micro.ack == "each":
                for piece in self.acks.of(self.acked + 1, delivered):
                    session.receive(bytes(piece), world.now)
            else:
                session.receive(frames.ack_multiple(1, delivered), world.now)
            self.acked = delivered
            world.run()

    def warm(self) -> None:
        """Let plans be kept and lists grow; on PyPy, compile."""
        for _ in range(WARM[sys.implementation.name]):
            self.read()
            self.deliver()

    def check(self) -> None:
        """All that was published was delivered, to the octet."""
        if self.consumer.octets != self.published * self.length:
            raise AssertionError(
                f"{self.micro.name}: {self.consumer.octets} octets instead of {self.published * self.length}"
            )


def run(micro: Micro, seconds: float) -> Result:
    """Measure one cell. Raises AssertionError when a message is missing."""
    gc.collect()
    rounds = [_round(micro, seconds / ROUNDS) for _ in range(ROUNDS)]
    result = Result(min(micros for micros, _ in rounds))
    if hasattr(sys, "getallocatedblocks"):
        result.collections = [sum(column) / ROUNDS for column in zip(*(counts for _, counts in rounds), strict=True)]
        _allocations(micro, result)
        _parked(micro, result)
    return result


def _round(micro: Micro, seconds: float) -> tuple[float, list[float]]:
    """Microseconds per message, and collections per generation and million messages."""
    bench = Bench(micro)
    bench.warm()
    began, before, messages = perf_counter(), _collections(), bench.published
    deadline = began + seconds
    while perf_counter() < deadline:
        bench.read()
        bench.deliver()
    took, after = perf_counter() - began, _collections()
    bench.check()
    done = bench.published - messages
    return 1e6 * took / done, [1e6 * (late - early) / done for early, late in zip(before, after, strict=True)]


def _collections() -> list[int]:
    return [generation["collections"] for generation in gc.get_stats()] if hasattr(sys, "getallocatedblocks") else []


def _allocations(micro: Micro, result: Result) -> None:
    # PyPy has no such module.
    import tracemalloc

    bench = Bench(micro)
    bench.warm()
    gc.collect()
    gc.disable()
    try:
        before = sys.getallocatedblocks()
        bench.read()
        result.read_blocks = (sys.getallocatedblocks() - before) / bench.count
        bench.deliver()
        tracemalloc.start()
        bench.read()
        bench.deliver()
        result.peak_octets = tracemalloc.get_traced_memory()[1] / bench.count
    finally:
        tracemalloc.stop()
        gc.enable()
    bench.check()


def _parked(micro: Micro, result: Result) -> None:
    """What messages cost that stay: the growth from one large number of them to the next."""
    import tracemalloc

    def fill() -> int:
        before = bench.published
        while bench.published < before + PARKED:
            bench.read()
            bench.world.run()
        gc.collect()
        return bench.published - before

    bench = Bench(micro, consumed=False)
    fill()
    blocks, tracked = sys.getallocatedblocks(), len(gc.get_objects())
    count = fill()
    result.parked_blocks = (sys.getallocatedblocks() - blocks) / count
    result.parked_tracked = (len(gc.get_objects()) - tracked) / count
    tracemalloc.start()
    try:
        count = fill()
        result.parked_octets = tracemalloc.get_traced_memory()[0] / count
    finally:
        tracemalloc.stop()


COLUMNS: list[tuple[str, Callable[[Result], float | None], str]] = [
    ("us", lambda result: result.micros, "{:.2f}"),
    ("per second", lambda result: 1e6 / result.micros, "{:,.0f}"),
    ("read blocks", lambda result: result.read_blocks, "{:.2f}"),
    ("peak B", lambda result: result.peak_octets, "{:,.0f}"),
    ("parked blocks", lambda result: result.parked_blocks, "{:.2f}"),
    ("parked B", lambda result: result.parked_octets, "{:,.0f}"),
    ("parked tracked", lambda result: result.parked_tracked, "{:.2f}"),
]


def line(name: str, result: Result, before: dict[str, Any] | None) -> str:
    """One cell's figures, and the time compared with an earlier run's."""
    cells = []
    for title, of, pattern in COLUMNS:
        value = of(result)
        cells.append(f"{'-' if value is None else pattern.format(value):>{len(title) + 3}}")
    counts = "/".join(f"{count:.0f}" for count in result.collections) if result.collections else "-"
    ratio = f"   time x {result.micros / before['micros']:.2f}" if before else ""
    return f"{name:<28}{''.join(cells)}{counts:>18}{ratio}"


def main(words: list[str]) -> int:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench micro", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--seconds", type=float, default=0.5, help="for each cell")
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep the figures")
    parser.add_argument("--before", type=Path, metavar="FILE", help="figures kept earlier, to compare with")
    arguments = parser.parse_args(words)
    before = json.loads(arguments.before.read_text()) if arguments.before else {}
    print(f"{'':<28}{''.join(f'{title:>{len(title) + 3}}' for title, _, _ in COLUMNS)}{'gc 0/1/2':>18}")
    results = {}
    for micro in CELLS:
        result = run(micro, arguments.seconds)
        results[micro.name] = vars(result)
        print(line(micro.name, result, before.get(micro.name)), flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1) + "\n")
    return 0
