"""Raw-socket load: `python -m tests.bench`; messages per second and broker CPU per message.

Starts amqpd, or measures `--against amqp://... --pid PID`, or with `--rabbitmq` a private RabbitMQ node; `--compare`
measures amqpd and the other in alternation, so that both see the same neighbours on the machine. Cells are {16 B, 1 KB}
x {no-ack, ack}; acks are multiple, one per 50 messages of a prefetch of 100. Every figure is a median over the runs;
CPU is user and system time of the broker's process tree over the whole run, from /proc.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any

from tests.bench.load import PATIENCE, QUEUE, Cell, LoadError, consume, produce
from tests.support import proc
from tests.support.broker import BrokerProcess, leave_on_sigterm
from tests.support.rabbitmq import RabbitProcess
from tests.support.rawclient import RawClient

CELLS = [Cell(size, acks) for size in (16, 1024) for acks in (False, True)]


@dataclass
class Subject:
    """A broker under load, and what was measured of it: per cell, rates and CPU microseconds per message."""

    name: str
    url: str
    pid: int | None
    rates: dict[Cell, list[float]] = field(default_factory=lambda: {cell: [] for cell in CELLS})
    cpu: dict[Cell, list[float]] = field(default_factory=lambda: {cell: [] for cell in CELLS})


class Worker:
    """One end of the load in its process."""

    def __init__(self, target: Any, *arguments: Any) -> None:
        context = get_context("spawn")
        self.control, theirs = context.Pipe()
        before, after = arguments[:-1], arguments[-1]
        self.process: SpawnProcess = context.Process(target=target, args=(*before, theirs, after), daemon=True)
        self.process.start()
        theirs.close()

    def hear(self, patience: float) -> Any:
        """What the process says next."""
        if not self.control.poll(patience):
            raise LoadError(f"{self.process.name} says nothing for {patience} s")
        try:
            return self.control.recv()
        except EOFError:
            raise LoadError(f"{self.process.name} ended") from None

    def end(self) -> None:
        """Let it go, or end it."""
        try:
            self.control.send("end")
        except OSError:
            pass
        self.process.join(5.0)
        if self.process.is_alive():
            self.process.kill()
            self.process.join(5.0)
        self.control.close()


def measure(subject: Subject, cell: Cell, seconds: float) -> None:
    """One run of one cell."""
    with RawClient.connected(subject.url) as client:
        client.open_channel()
        client.declare_queue(QUEUE, auto_delete=False)
        try:
            _load(subject, cell, seconds)
        finally:
            client.delete_queue(QUEUE)
        client.close()


def _load(subject: Subject, cell: Cell, seconds: float) -> None:
    credits_out: Connection
    credits_in, credits_out = get_context("spawn").Pipe(duplex=False)
    workers: list[Worker] = []
    try:
        consumer = Worker(consume, subject.url, cell, credits_out)
        workers.append(consumer)
        producer = Worker(produce, subject.url, cell, seconds, credits_in)
        workers.append(producer)
        for worker in workers:
            worker.hear(PATIENCE)
        cpu = proc.cpu_seconds(subject.pid) if subject.pid else 0.0
        for worker in workers:
            worker.control.send("go")
        sent = producer.hear(seconds + PATIENCE)
        consumer.control.send(sent)
        seen = consumer.hear(PATIENCE)
        used = proc.cpu_seconds(subject.pid) - cpu if subject.pid else 0.0
    finally:
        for worker in workers:
            worker.end()
        credits_in.close()
        credits_out.close()
    if seen["received"] != sent:
        raise LoadError(f"{sent} were sent, {seen['received']} came")
    subject.rates[cell].append(sent / (seen["ended"] - seen["began"]))
    subject.cpu[cell].append(1e6 * used / sent)


def table(subjects: list[Subject]) -> Iterator[str]:
    """The medians, and the ratios when two were measured."""
    yield f"{'':<14}" + "".join(f"{subject.name:>32}" for subject in subjects)
    yield f"{'':<14}" + f"{'messages/s':>16}{'CPU us/message':>16}" * len(subjects)
    for cell in CELLS:
        line = f"{cell!s:<14}"
        rates = [statistics.median(subject.rates[cell]) for subject in subjects]
        costs = [statistics.median(subject.cpu[cell]) for subject in subjects]
        for subject, rate, cost in zip(subjects, rates, costs, strict=True):
            line += f"{rate:>16,.0f}{cost:>16.2f}" if subject.pid else f"{rate:>16,.0f}{'?':>16}"
        if len(subjects) == 2:
            line += f"   rate x {rates[0] / rates[1]:.2f}"
            line += f", CPU x {costs[0] / costs[1]:.2f}" if costs[1] else ""
        yield line


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--runs", type=int, default=3, help="runs per cell, of which the median is taken")
    parser.add_argument("--seconds", type=float, default=1.0, help="how long a run publishes")
    parser.add_argument("--against", metavar="URL", help="a running broker")
    parser.add_argument("--pid", type=int, help="its process; without it there are no CPU figures")
    parser.add_argument("--rabbitmq", action="store_true", help="a private RabbitMQ node")
    parser.add_argument("--compare", action="store_true", help="measure amqpd too, in alternation")
    parser.add_argument("--python", default=sys.executable, help="the interpreter that runs amqpd")
    return parser.parse_args()


def main() -> int:
    """Start what is to be measured, run the cells in alternation, print the table."""
    arguments = _arguments()
    with ExitStack() as stack:
        subjects = []
        if arguments.compare or not (arguments.against or arguments.rabbitmq):
            own = stack.enter_context(BrokerProcess(python=arguments.python))
            subjects.append(Subject("amqpd", own.url, own.pid))
        if arguments.rabbitmq:
            node = stack.enter_context(RabbitProcess(startup_timeout=60.0))
            subjects.append(Subject("RabbitMQ", node.url, node.pid))
        if arguments.against:
            subjects.append(Subject("other", arguments.against, arguments.pid))
        for run in range(arguments.runs):
            for cell in CELLS:
                for subject in subjects if run % 2 == 0 else subjects[::-1]:
                    measure(subject, cell, arguments.seconds)
        for line in table(subjects):
            print(line)
    return 0


if __name__ == "__main__":
    leave_on_sigterm()
    sys.exit(main())
