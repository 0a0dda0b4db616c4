"""What a cell needs in the broker: names of fixed length, declared before a run and deleted after it.

queues      bench.0000, bench.0001 ...           consumer tags  c0000 ... by the number of the queue
exchange    bench.x of the cell's type           binding i      leads to queue i modulo the number of queues
topic       pattern k.000042.*, key k.000042.x   headers        n = 000042 with x-match = all
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pamqp import commands

from tests.bench import frames
from tests.bench.cells import Cell
from tests.bench.crew import LoadError
from tests.support.rawclient import RawClient, pack_method

__all__ = ["Topology", "connect"]

EXCHANGE = "bench.x"
WINDOW = 500
"""Declarations that are sent before their answers are awaited."""


def connect(url: str, timeout: float) -> RawClient:
    """A connection with the frame size that all lengths are computed for."""
    client = RawClient.connected(url, timeout=timeout)
    if client.frame_max != frames.FRAME_MAX:
        raise LoadError(f"the broker wants frames of at most {client.frame_max} octets, not {frames.FRAME_MAX}")
    return client


@dataclass
class Topology:
    """The queues, bindings and messages of a cell."""

    cell: Cell

    @property
    def queues(self) -> list[str]:
        return [f"bench.{number:04d}" for number in range(self.cell.queues)]

    @property
    def exchange(self) -> str:
        return EXCHANGE if self.cell.exchange else ""

    # ------------------------------------------------------------------------------------------ declarations

    def declare(self, url: str, timeout: float) -> None:
        """Make it all. What an earlier run may have left is removed first."""
        with connect(url, timeout) as client:
            client.open_channel()
            self._remove(client)
            for queue in self.queues:
                client.send_method(self._declaration(queue), 1)
            for _ in self.queues:
                client.expect(commands.Queue.DeclareOk, 1)
            if self.cell.exchange:
                client.declare_exchange(EXCHANGE, self.cell.exchange, durable=self.cell.persistent)
                self._bind(client)
            client.close()

    def remove(self, url: str, timeout: float) -> None:
        """Delete it all."""
        with connect(url, timeout) as client:
            client.open_channel()
            self._remove(client)
            client.close()

    def _declaration(self, queue: str) -> commands.Queue.Declare:
        # Every broker takes durable queues; transient ones that are not exclusive are on their way out of RabbitMQ.
        # The messages decide what is written.
        return commands.Queue.Declare(queue=queue, durable=True, arguments=dict(self.cell.arguments))

    def _remove(self, client: RawClient) -> None:
        if self.cell.exchange:
            client.send_method(commands.Exchange.Delete(exchange=EXCHANGE), 1)
            client.expect(commands.Exchange.DeleteOk, 1)
        for queue in self.queues:
            client.send_method(commands.Queue.Delete(queue=queue), 1)
        for _ in self.queues:
            client.expect(commands.Queue.DeleteOk, 1)

    def _bind(self, client: RawClient) -> None:
        waiting = 0
        for method in self._bindings():
            client.send_method(method, 1)
            waiting += 1
            if waiting == WINDOW:
                client.expect(commands.Queue.BindOk, 1)
                waiting -= 1
        for _ in range(waiting):
            client.expect(commands.Queue.BindOk, 1)

    def _bindings(self) -> Iterator[commands.Queue.Bind]:
        queues = self.queues
        if self.cell.exchange == "fanout":
            for queue in queues:
                yield commands.Queue.Bind(queue=queue, exchange=EXCHANGE)
            return
        for number in range(self.cell.bindings):
            queue = queues[number % len(queues)]
            bind = commands.Queue.Bind(queue=queue, exchange=EXCHANGE)
            if not self.cell.keys:
                bind.routing_key = "#"
            elif self.cell.exchange == "topic":
                bind.routing_key = f"k.{number:06d}.*"
            else:
                bind.arguments = {"x-match": "all", "n": f"{number:06d}"}
            yield bind

    # ---------------------------------------------------------------------------------------------- messages

    def keys(self, producer: int) -> list[str]:
        """The routing keys that a producer uses in turn."""
        cell = self.cell
        if cell.asks == "return":
            return ["bench.nowhere"]
        if not cell.exchange:
            return [self.queues[producer % cell.queues]]
        if cell.exchange == "topic" and not cell.keys:
            return ["0" * 16]
        if cell.exchange == "topic":
            return [f"k.{number:06d}.x" for number in self._chosen()]
        return ["fan"] if cell.exchange == "fanout" else [""] * cell.keys

    def _chosen(self) -> list[int]:
        """The bindings that messages are for, spread over all."""
        step = max(1, self.cell.bindings // max(1, self.cell.keys))
        return [number * step for number in range(min(self.cell.keys, self.cell.bindings))]

    def properties(self) -> list[commands.Basic.Properties]:
        """The properties that messages have in turn."""
        mode = 2 if self.cell.persistent else None
        if self.cell.priorities:
            return [
                commands.Basic.Properties(delivery_mode=mode, priority=number) for number in range(self.cell.priorities)
            ]
        if self.cell.exchange == "headers":
            return [
                commands.Basic.Properties(delivery_mode=mode, headers={"n": f"{number:06d}"})
                for number in self._chosen()
            ]
        return [commands.Basic.Properties(delivery_mode=mode)]

    def templates(self, producer: int) -> list[frames.Template]:
        """The messages that a producer sends in turn: over its channels, keys and properties."""
        keys, kinds, channels = self.keys(producer), self.properties(), self.cell.channels
        return [
            frames.Template(
                1 + number % channels,
                self.exchange,
                keys[number % len(keys)],
                self.cell.size,
                kinds[number % len(kinds)],
                mandatory=self.cell.asks == "return",
            )
            for number in range(max(len(keys), len(kinds), channels))
        ]

    # ------------------------------------------------------------------------------------------- what comes back

    def tag(self, queue: int) -> str:
        """The consumer tag for a queue's consumers."""
        return f"c{queue:04d}"

    def queues_of(self, consumer: int) -> list[int]:
        """The queues that a consuming connection reads."""
        cell = self.cell
        if cell.queues <= cell.consumers:
            return [consumer % cell.queues]
        return list(range(consumer, cell.queues, cell.consumers))

    def delivery_length(self) -> int:
        """Octets of every delivery."""
        properties = frames.properties_length(self.properties()[0])
        return frames.delivery_length(self.tag(0), self.exchange, self.keys(0)[0], self.cell.size, properties)

    def answer_length(self) -> int:
        """Octets of every basic.get-ok or basic.return."""
        properties = frames.properties_length(self.properties()[0])
        length = frames.get_ok_length if self.cell.asks == "get" else frames.return_length
        return length(self.exchange, self.keys(0)[0], self.cell.size, properties)


def purge_request(queue: str) -> bytes:
    """A queue.purge on channel 1."""
    return pack_method(1, commands.Queue.Purge(queue=queue))


def remove_queues(url: str, names: list[str], timeout: float) -> None:
    """Delete many queues."""
    with connect(url, timeout) as client:
        client.open_channel()
        waiting = 0
        for name in names:
            client.send_method(commands.Queue.Delete(queue=name), 1)
            waiting += 1
            if waiting == WINDOW:
                client.expect(commands.Queue.DeleteOk, 1)
                waiting -= 1
        for _ in range(waiting):
            client.expect(commands.Queue.DeleteOk, 1)
        client.close()
