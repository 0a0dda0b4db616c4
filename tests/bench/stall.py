"""The longest stall of the event loop with a million messages parked: `python -m tests.bench stall`.

A light paced load runs all the while, and its latency is what a client sees of the stalls; the probe in the broker
(`tests.bench.stall_node`) says how long the loop did something else, and how much of that was the collector. Phases:
the messages come in; they lie there; a full collection; half of them are consumed; the rest is purged.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from pamqp import commands

from tests.bench import flow, frames
from tests.bench.cells import Cell
from tests.bench.crew import FROM, PATIENCE, Crew, LoadError, Patience
from tests.bench.guard import Guard
from tests.bench.lines import Replies
from tests.bench.subjects import OwnBroker, Subject, enter
from tests.bench.topology import Topology, connect
from tests.support import proc
from tests.support.broker import BrokerError

__all__ = ["main"]

QUEUE = "bench.parked"
TAG = "c0000"
LIGHT = Cell("light load", size=64)
RATE = 1000.0
BLOCK = 500
PLAIN = commands.Basic.Properties()


class ProbedBroker(OwnBroker):
    """amqpd with the probe."""

    @property
    def report(self) -> Path:
        return self.directory / "stalls.json"

    def command(self) -> list[str]:
        words = super().command()
        at = words.index("amqpd.cli.server")
        return [*words[:at], "tests.bench.stall_node", str(self.report), *words[at + 1 :]]


class Stalls:
    """The phases of one run."""

    def __init__(self, subject: Subject, broker: ProbedBroker, crew: Crew, size: int) -> None:
        self.subject, self.broker, self.crew, self.size = subject, broker, crew, size
        self.topology = Topology(LIGHT)
        self.template = frames.Template(1, "", QUEUE, size)

    def phase(self, name: str, work: Callable[[], None]) -> dict[str, Any]:
        """Do the work under the light load; what the probe and the load have seen."""
        crew = self.crew
        self.topology.declare(self.subject.url, PATIENCE)
        crew.start([flow.send, flow.receive], self.subject.url, LIGHT, RATE)
        crew.watch(0.5)
        self.ask()
        crew.board[FROM] = time.monotonic_ns()
        began = time.monotonic()
        work()
        took = time.monotonic() - began
        crew.watch(0.1)
        found = self.ask()
        results = crew.finish(PATIENCE)
        self.topology.remove(self.subject.url, PATIENCE)
        return {"phase": name, "seconds": took, "latency": results["receiver"]["latency"], **found}

    def ask(self) -> dict[str, Any]:
        """The probe's report since the last."""
        report = self.broker.report
        report.unlink(missing_ok=True)
        os.kill(self.broker.pid, signal.SIGUSR1)
        if not proc.wait_until(report.exists, 60.0):
            raise LoadError("the probe does not answer")
        return dict(json.loads(report.read_text()))

    def fill(self, count: int) -> None:
        """Publish so many and see that they are there."""
        with connect(self.subject.url, 120.0) as client:
            client.open_channel()
            client.declare_queue(QUEUE)
            for first in range(0, count, BLOCK):
                client.send(self.template.whole * min(BLOCK, count - first))
            self.expect(client.declare_queue(QUEUE, passive=True).message_count, count)
            client.close()

    def collect(self) -> None:
        """A full collection."""
        os.kill(self.broker.pid, signal.SIGUSR2)
        self.crew.watch(1.0)

    def drain(self, count: int) -> None:
        """Consume so many (and those that are on their way), acknowledging them all."""
        length = frames.delivery_length(TAG, "", QUEUE, self.size, frames.properties_length(PLAIN))
        with connect(self.subject.url, 120.0) as client:
            client.open_channel()
            client.qos(1000)
            client.consume(QUEUE, TAG)
            replies = Replies(client, length)
            patience = Patience()
            while replies.count < count:
                if replies.read():
                    patience.progress()
                    replies.sock.sendall(frames.ack_multiple(1, replies.count))
                patience.check("draining")

    def purge(self) -> None:
        """The rest goes at once."""
        with connect(self.subject.url, 120.0) as client:
            client.open_channel()
            client.delete_queue(QUEUE)
            client.close()

    @staticmethod
    def expect(found: int | None, count: int) -> None:
        if found != count:
            raise LoadError(f"{count} messages were published, {found} are there")


def show(found: dict[str, Any]) -> str:
    """One phase as a line."""
    (longest, share, busy), *others = found["stalls"]
    rest = ", ".join(f"{1e3 * stall:.1f}" for stall, _, _ in others[:3])
    collections = " ".join(
        f"gen {generation}: {count} (longest {1e3 * worst:.1f} ms)"
        for generation, (count, worst) in sorted(found["collections"].items())
    )
    latency = found["latency"]
    return (
        f"{found['phase']:<16}{found['seconds']:>7.1f} s   longest stall {1e3 * longest:.1f} ms, of which CPU "
        f"{1e3 * busy:.1f} ms, collector {1e3 * share:.1f} ms; next {rest} ms\n"
        f"{'':<27}collector {1e3 * found['collector']:,.0f} ms in all; {collections or 'no collection'}\n"
        f"{'':<27}a client sees p50 {latency.get('p50', 0):.2f}, p99 {latency.get('p99', 0):.2f}, "
        f"longest {latency.get('max', 0):.2f} ms"
    )


def main(words: list[str]) -> int:
    """Run the phases and print them."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench stall", description=__doc__)
    parser.add_argument("--messages", type=int, default=1_000_000, help="how many are parked")
    parser.add_argument("--size", type=int, default=100, help="octets of a body")
    parser.add_argument("--seconds", type=float, default=10.0, help="how long they lie there")
    parser.add_argument("--loop", choices=("uvloop", ""), default="", help="ask for uvloop")
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep the figures")
    arguments = parser.parse_args(words)
    with ExitStack() as stack:
        guard = Guard()
        stack.callback(guard.close)
        crew = Crew(guard)
        stack.callback(crew.dismiss)
        broker = ProbedBroker(loop=arguments.loop)
        try:
            subject = enter(stack, guard, "amqpd", broker)
            stalls = Stalls(subject, broker, crew, arguments.size)
            phases = phases_of(stalls, arguments.messages, arguments.seconds)
        except (BrokerError, LoadError) as error:
            print(error)
            return 1
        if arguments.json:
            arguments.json.write_text(json.dumps(phases, indent=1) + "\n")
    return 0


def phases_of(stalls: Stalls, messages: int, seconds: float) -> list[dict[str, Any]]:
    """All phases, printed as they end."""
    plan: list[tuple[str, Callable[[], None]]] = [
        ("nothing parked", lambda: stalls.crew.watch(min(3.0, seconds)) and None),
        ("filling", lambda: stalls.fill(messages)),
        ("parked", lambda: stalls.crew.watch(seconds) and None),
        ("collection", stalls.collect),
        ("draining half", lambda: stalls.drain(messages // 2)),
        ("deleting", stalls.purge),
    ]
    phases = []
    for name, work in plan:
        found = stalls.phase(name, work)
        found["rss"] = stalls.broker.rss()
        phases.append(found)
        print(show(found) + f"; RSS {found['rss'] / 1e6:,.0f} MB", flush=True)
    return phases
