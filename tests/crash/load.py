"""The clients of a crash run: producers that want confirms, consumers that acknowledge.

Each is a thread with a connection of its own that lives until the broker dies.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable

from pamqp import commands

from tests.crash.ledger import FANOUT, TARGETS, Key, Ledger, Stream, make_body
from tests.support.rawclient import ChannelMethod, ClientError, Content, Disconnected, RawClient, pack_publish

PERSISTENT = commands.Basic.Properties(delivery_mode=2)
WINDOW = 150
PREFETCH = 100


class Client(threading.Thread):
    """A thread that talks to the broker until the connection is lost; what else ends it is a fault."""

    def __init__(self, name: str, url: str, ledger: Ledger, seed: str) -> None:
        super().__init__(name=name, daemon=True)
        self.ledger = ledger
        self.chance = random.Random(f"{seed}:{name}")
        self.dying = threading.Event()
        self.client = RawClient.connected(url, timeout=30.0)

    def run(self) -> None:
        """Work until the broker dies."""
        try:
            with self.client:
                self.work()
        except Disconnected:
            if not self.dying.is_set():
                self.ledger.fault(f"{self.name}: the broker dropped the connection before it was killed")
        except ClientError as error:
            self.ledger.fault(f"{self.name}: {error}")
        except Exception as error:
            self.ledger.fault(f"{self.name}: {error!r}")

    def work(self) -> None:
        """The conversation."""
        raise NotImplementedError


class Producer(Client):
    """Publishes persistent messages with a window of unconfirmed ones."""

    def __init__(
        self, number: int, first: int, url: str, ledger: Ledger, seed: str, confirmed_one: Callable[[], None]
    ) -> None:
        super().__init__(f"producer {number}", url, ledger, seed)
        self.number, self.next = number, first
        self.open: dict[int, Key] = {}
        self.confirmed_one = confirmed_one
        self.client.open_channel()
        self.client.confirm_select()

    def work(self) -> None:
        tag = 1
        while True:
            count = min(self.chance.choice((1, 5, 20, 60)), WINDOW - len(self.open))
            tag = self._publish(tag, count)
            while len(self.open) >= WINDOW or (self.open and self.client.has_frame()):
                self._confirmed()
            if self.chance.random() < 0.05:
                while self.open:
                    self._confirmed()

    def _publish(self, tag: int, count: int) -> int:
        """Send some messages in one write; the next delivery tag."""
        parts, entries = [], []
        for _ in range(count):
            target = self.chance.choice(TARGETS)
            exchange, routing_key = (FANOUT, "") if target == FANOUT else ("", target)
            key = (self.number, self.next)
            body = make_body(self.chance, self.number, self.next, target)
            parts.append(pack_publish(1, exchange, routing_key, body, PERSISTENT))
            entries.append((key, target))
            self.open[tag] = key
            self.next, tag = self.next + 1, tag + 1
        self.ledger.publishing(entries)
        self.client.send(b"".join(parts))
        return tag

    def _confirmed(self) -> None:
        """Read one answer."""
        event = self.client.next_event()
        answer = event.method if isinstance(event, ChannelMethod) else None
        if not isinstance(answer, commands.Basic.Ack | commands.Basic.Nack):
            self.ledger.fault(f"{self.name}: unexpected {event}")
            return
        upto = answer.delivery_tag
        tags = [tag for tag in self.open if tag <= upto] if answer.multiple else [upto]
        if not tags or any(tag not in self.open for tag in tags):
            self.ledger.fault(
                f"{self.name}: a confirm for {upto} (multiple={answer.multiple}), open: {list(self.open)[:5]}"
            )
            return
        keys = [self.open.pop(tag) for tag in tags]
        if isinstance(answer, commands.Basic.Nack):
            self.ledger.refuse(keys)
        else:
            self.ledger.confirm(keys)
            self.confirmed_one()


class Consumer(Client):
    """Acknowledges in several ways, leaving some deliveries open; may put some back."""

    def __init__(self, name: str, queue: str, url: str, ledger: Ledger, seed: str) -> None:
        super().__init__(name, url, ledger, seed)
        self.stream = Stream(queue, puts_back=queue.endswith("returning"))
        self.open: dict[int, Key] = {}
        self.client.open_channel()
        self.client.qos(PREFETCH)
        self.client.consume(queue)

    def work(self) -> None:
        while True:
            event = self.client.next_event(timeout=3600.0)
            if not isinstance(event, Content):
                self.ledger.fault(f"{self.name}: unexpected {event}")
                continue
            key = self.ledger.deliver(self.stream, event.body, event.redelivered)
            if key is not None:
                self.open[event.delivery_tag] = key
                self.settle(event.delivery_tag)

    def settle(self, tag: int) -> None:
        """Do something about the deliveries that are open."""
        if len(self.open) < PREFETCH and self.chance.random() < 0.7:
            return
        if self.stream.puts_back and self.chance.random() < 0.1:
            self.open.pop(tag)
            self.client.nack(tag)
            return
        way = self.chance.random()
        if way < 0.4:
            self._acknowledge([one for one in self.open if one <= tag], multiple=True)
        elif way < 0.8:
            self._acknowledge([self.chance.choice(list(self.open))])
        elif way < 0.9:
            self._acknowledge([next(iter(self.open))], reject=True)
        else:
            self._acknowledge(list(self.open), multiple=True)

    def _acknowledge(self, tags: list[int], *, multiple: bool = False, reject: bool = False) -> None:
        self.ledger.settling(self.stream.queue, [self.open.pop(tag) for tag in tags])
        if reject:
            self.client.nack(tags[-1], multiple=multiple, requeue=False)
        else:
            self.client.ack(tags[-1], multiple=multiple)
