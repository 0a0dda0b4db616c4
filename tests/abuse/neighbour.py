"""A well-behaved client beside the abuse: publishes at a steady rate with confirms, consumes it, and measures.

A process of its own: `python -m tests.abuse.neighbour URL RATE`. A line on its standard input is answered with a line
of JSON on its standard output: the figures since the last such line. At the end of the input it waits until everything
has come back, and the last line says what was lost.
"""

from __future__ import annotations

import json
import select
import subprocess
import sys
import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from pamqp import commands

from tests.support.broker import ROOT
from tests.support.rawclient import ChannelMethod, Content, RawClient, pack_publish

OUT, IN = 1, 2
QUEUE = "abuse.neighbour"
ACK_EVERY = 20
DRAIN = 30.0
PERSISTENT = commands.Basic.Properties(delivery_mode=2)


@dataclass
class Figures:
    """What happened since the last report."""

    since: float = field(default_factory=time.monotonic)
    latencies: list[float] = field(default_factory=list)
    confirm_latencies: list[float] = field(default_factory=list)

    def report(self) -> dict[str, float]:
        """Rates and latencies in one dictionary."""
        seconds = time.monotonic() - self.since
        ordered, confirms = sorted(self.latencies), sorted(self.confirm_latencies)
        return {
            "seconds": round(seconds, 3),
            "rate": round(len(ordered) / seconds, 1),
            "p50_ms": round(1000 * ordered[len(ordered) // 2], 2) if ordered else -1.0,
            "p99_ms": round(1000 * ordered[len(ordered) * 99 // 100], 2) if ordered else -1.0,
            "worst": round(ordered[-1], 3) if ordered else -1.0,
            "worst_confirm": round(confirms[-1], 3) if confirms else -1.0,
        }


class Client:
    """Both ends of one queue on one connection."""

    def __init__(self, url: str, rate: float) -> None:
        self.rate = rate
        self.client = RawClient.connected(url, timeout=DRAIN)
        self.client.open_channel(OUT)
        self.client.open_channel(IN)
        self.client.confirm_select(OUT)
        self.client.declare_queue(QUEUE, OUT, durable=True, exclusive=True)
        self.client.consume(QUEUE, channel=IN)
        self.sent_at: dict[int, float] = {}
        self.confirm_at: dict[int, float] = {}
        self.published = self.confirmed = self.delivered = 0
        self.faults: list[str] = []
        self.figures = Figures()

    def run(self) -> None:
        """Work until the standard input ends."""
        due = time.monotonic()
        while True:
            now = time.monotonic()
            if now >= due:
                batch = max(1, round(self.rate / 50))
                self._publish(batch, now)
                due = max(due + batch / self.rate, now - 0.1)
            timeout = 0.0 if self.client.has_frame() else max(0.0, due - time.monotonic())
            ready, _, _ = select.select([self.client, sys.stdin], [], [], timeout)
            if self.client in ready or self.client.has_frame():
                self._read()
            if sys.stdin in ready:
                if not sys.stdin.readline():
                    break
                self._say(self.figures.report())
                self.figures = Figures()
        self._finish()

    def _publish(self, count: int, now: float) -> None:
        parts = []
        for _ in range(count):
            self.published += 1
            body = b"%020d" % self.published + b"." * 180
            parts.append(pack_publish(OUT, "", QUEUE, body, PERSISTENT))
            self.sent_at[self.published] = self.confirm_at[self.published] = now
        self.client.send(b"".join(parts))

    def _read(self) -> None:
        """Take everything that is buffered, at least one event."""
        event = self.client.next_event()
        now = time.monotonic()
        if isinstance(event, Content):
            number = int(event.body[:20])
            if number != self.delivered + 1 or event.redelivered:
                self.faults.append(f"delivery {number} (redelivered {event.redelivered}) after {self.delivered}")
            self.delivered = number
            self.figures.latencies.append(now - self.sent_at.pop(number, now))
            if event.delivery_tag % ACK_EVERY == 0:
                self.client.ack(event.delivery_tag, IN, multiple=True)
        elif isinstance(event, ChannelMethod) and isinstance(event.method, commands.Basic.Ack):
            upto = event.method.delivery_tag
            for tag in [t for t in self.confirm_at if t <= upto] if event.method.multiple else [upto]:
                self.figures.confirm_latencies.append(now - self.confirm_at.pop(tag))
                self.confirmed += 1
        else:
            self.faults.append(f"unexpected {event}")

    def _finish(self) -> None:
        """Wait for what is on its way, and give the final account."""
        deadline = time.monotonic() + DRAIN
        while (self.sent_at or self.confirm_at) and time.monotonic() < deadline:
            self._read()
        account = {"published": self.published, "confirmed": self.confirmed, "delivered": self.delivered}
        self._say({**self.figures.report(), **account, "faults": self.faults[:20]})
        self.client.close()

    def _say(self, what: dict[str, Any]) -> None:
        print(json.dumps(what), flush=True)


class Neighbour:
    """The client's process, seen from the test program."""

    def __init__(self, url: str, rate: float) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.abuse.neighbour", url, str(rate)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def _hear(self, timeout: float) -> dict[str, Any]:
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], timeout)
        line = self._process.stdout.readline() if ready else ""
        if not line:
            raise AssertionError("the neighbour died" if ready else f"the neighbour said nothing for {timeout} s")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def report(self) -> dict[str, Any]:
        """The figures since the last report."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return self._hear(60.0)

    def finish(self) -> dict[str, Any]:
        """Stop publishing, wait for the rest, and get the final account."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        account = self._hear(2 * DRAIN)
        self._process.wait(30.0)
        return account

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait(10.0)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()


if __name__ == "__main__":
    Client(sys.argv[1], float(sys.argv[2])).run()
