"""Rounds of load, SIGKILL and recovery, and the final account."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass

from tests.crash.ledger import FANOUT, FANOUT_QUEUES, QUEUES, Ledger, Stream
from tests.crash.load import Client, Consumer, Producer
from tests.support.broker import BrokerProcess
from tests.support.rawclient import Content, RawClient

PRODUCERS = 3
STARTUP_KILL = 0.2
LOG_ALARMS = ("Traceback (most recent call last)", "Task exception was never retrieved", "Exception ignored in")


@dataclass
class Figures:
    """What a run is summed up in."""

    rounds: int = 0
    published: int = 0
    confirmed: int = 0
    delivered: int = 0
    redelivered: int = 0
    restarts: int = 0
    killed_in_startup: int = 0
    recovered: int = 0
    max_recovery: float = 0.0

    def __str__(self) -> str:
        return (
            f"rounds {self.rounds}, published {self.published}, confirmed {self.confirmed}, "
            f"delivered {self.delivered}, "
            f"redelivered {self.redelivered}, restarts {self.restarts} (killed again while starting "
            f"{self.killed_in_startup}), messages found after restarts {self.recovered}, "
            f"max recovery {self.max_recovery:.2f} s"
        )


class CrashRun:
    """A broker that is killed under load, round after round."""

    def __init__(self, broker: BrokerProcess, seed: int, say: Callable[[str], None] = lambda line: None) -> None:
        self.broker = broker
        self.seed = seed
        self.chance = random.Random(seed)
        self.ledger = Ledger()
        self.figures = Figures()
        self.say = say
        self._next = [1] * PRODUCERS
        self._log_read = 0

    def execute(self, rounds: int) -> list[str]:
        """Everything; the faults found (none, for a good broker)."""
        self._declare()
        for number in range(rounds):
            self._round(number)
            if self.ledger.faults:
                break
        self._drain()
        if not self.ledger.faults:
            self._clean_stop()
        ledger, figures = self.ledger, self.figures
        figures.published, figures.confirmed = len(ledger.published), ledger.confirms
        figures.delivered, figures.redelivered = ledger.deliveries, ledger.redelivered
        return ledger.faults

    def _declare(self) -> None:
        with RawClient.connected(self.broker.url) as client:
            client.open_channel()
            client.declare_exchange(FANOUT, "fanout", durable=True)
            for queue in QUEUES:
                client.declare_queue(queue, durable=True)
            for queue in FANOUT_QUEUES:
                client.bind_queue(queue, FANOUT)
            client.close()

    def _round(self, number: int) -> None:
        """Load, death, recovery, inspection."""
        seed = f"{self.seed}:{number}"
        confirmed_one = threading.Event()
        url = self.broker.url
        consumers = [Consumer(f"consumer of {queue}", queue, url, self.ledger, seed) for queue in QUEUES]
        consumers.append(Consumer("second consumer", "crash.shared", url, self.ledger, seed))
        producers = [
            Producer(index, self._next[index], url, self.ledger, seed, confirmed_one.set) for index in range(PRODUCERS)
        ]
        clients: list[Client] = [*consumers, *producers]
        for client in clients:
            client.start()
        if not confirmed_one.wait(30.0):
            self.ledger.fault("nothing was confirmed within 30 s")
        threading.Event().wait(self.chance.uniform(0.1, 0.8))
        if not self.broker.running:
            self.ledger.fault("the broker ended by itself")
        for client in clients:
            client.dying.set()
        self.broker.kill()
        for client in clients:
            client.join(30.0)
            if client.is_alive():
                self.ledger.fault(f"{client.name} did not notice that the broker is gone")
        self._next = [producer.next for producer in producers]
        self._recover()
        self.figures.rounds += 1
        self.say(
            f"round {number + 1}: confirmed {self.ledger.confirms}, delivered {self.ledger.deliveries}, "
            f"recovered in {self.broker.started_in:.2f} s, faults {len(self.ledger.faults)}"
        )

    def _recover(self) -> None:
        """Start again (sometimes after a death on the way) and look at what is there."""
        if self.chance.random() < STARTUP_KILL:
            self.broker.launch()
            threading.Event().wait(self.chance.uniform(0.05, max(0.1, 1.2 * self.broker.started_in)))
            self.broker.kill()
            self.figures.killed_in_startup += 1
        took = self.broker.restart()
        self.figures.restarts += 1
        self.figures.max_recovery = max(self.figures.max_recovery, took)
        self._read_log()
        with RawClient.connected(self.broker.url) as client:
            client.open_channel()
            for queue in QUEUES:
                there = client.declare_queue(queue, passive=True).message_count or 0
                owed, possible = len(self.ledger.owed(queue)), self.ledger.possible(queue)
                self.figures.recovered += there
                if not owed <= there <= possible:
                    self.ledger.fault(f"{queue}: {there} messages after a restart, expected {owed} to {possible}")
            client.close()

    def _read_log(self) -> None:
        """No life of the broker may have printed a traceback."""
        log = self.broker.log()
        fresh, self._log_read = log[self._log_read :], len(log)
        for alarm in LOG_ALARMS:
            if alarm in fresh:
                at = fresh.index(alarm)
                self.ledger.fault(f"the log says:\n{fresh[max(0, at - 500) : at + 3000]}")

    def _drain(self) -> None:
        """Take everything out and settle the account."""
        with RawClient.connected(self.broker.url) as client:
            client.open_channel()
            for queue in QUEUES:
                left = client.declare_queue(queue, passive=True).message_count or 0
                stream = Stream(queue, puts_back=False)
                tag = client.consume(queue, f"drain.{queue}") if left else ""
                while left:
                    event = client.next_event(timeout=30.0)
                    if not isinstance(event, Content) or event.consumer_tag.decode() != tag:
                        self.ledger.fault(f"{queue}: unexpected {event} while draining")
                        break
                    key = self.ledger.deliver(stream, event.body, event.redelivered)
                    self.ledger.settling(queue, [key] if key else [])
                    client.ack(event.delivery_tag)
                    left -= 1
                lost = self.ledger.owed(queue)
                for key in sorted(lost)[:5]:
                    state = "delivered, never acknowledged" if key in self.ledger.seen[queue] else "never delivered"
                    self.ledger.fault(f"{queue}: {key} was confirmed, {state}, and is lost ({len(lost)} such)")
            client.close()

    def _clean_stop(self) -> None:
        """What was acknowledged before a clean stop is gone after it."""
        took = self.broker.restart()
        self.figures.restarts += 1
        self.figures.max_recovery = max(self.figures.max_recovery, took)
        self._read_log()
        with RawClient.connected(self.broker.url) as client:
            client.open_channel()
            for queue in QUEUES:
                there = client.declare_queue(queue, passive=True).message_count or 0
                if there:
                    self.ledger.fault(f"{queue}: {there} messages that were acknowledged before a clean stop")
            client.close()
