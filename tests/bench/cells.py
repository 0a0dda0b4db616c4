"""The cells: what is measured, one entry each.

A cell says what is published, over what topology, and who takes it. `kind` names the scenario that reads it:

    flow      producers to consumers, as fast as it goes; its latency is measured at half the rate
    ask       one connection sends and waits for what comes back, `window` outstanding: confirms, returns, get
    fill      publishing into a queue that nobody reads
    rpc       `producers` clients with one request outstanding each, over direct reply-to
    idle      `count` connections with one channel each
    declare   `count` durable queues over `producers` connections
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Any

__all__ = ["CELLS", "SHORT", "Cell", "chosen"]

BACKLOG = 20_000
"""Messages that may be in the broker, unless they are large."""

BACKLOG_BYTES = 32 << 20
PARKED_BYTES = 256 << 20
PARKED = 500_000
"""Messages that gather in a queue nobody reads before it is purged, unless they are large."""


@dataclass(frozen=True)
class Cell:
    """What is measured. Counts of the topology are of queues, bindings, connections and channels per connection."""

    name: str
    kind: str = "flow"
    size: int = 16
    ack: str = ""
    """Empty (no ack), `each`, or `multiple`."""
    prefetch: int = 100
    persistent: bool = False
    exchange: str = ""
    """The exchange's type; empty is the default exchange."""
    queues: int = 1
    bindings: int = 0
    keys: int = 1
    """Distinct routing keys (or header values) in turn; 0 gives every message its own."""
    arguments: dict[str, Any] = field(default_factory=dict, hash=False)
    priorities: int = 0
    producers: int = 1
    consumers: int = 1
    channels: int = 1
    asks: str = ""
    """What is asked for: `confirm`, `return`, `get`."""
    window: int = 0
    count: int = 0
    unit: str = "message"

    @property
    def ack_every(self) -> int:
        """Deliveries that one ack with multiple settles: a fifth of the prefetch, so that the consumer never idles."""
        return max(1, self.prefetch // 5)

    @property
    def copies(self) -> int:
        """Deliveries that one publish causes."""
        return self.queues if self.exchange == "fanout" else 1

    @property
    def backlog(self) -> int:
        """Deliveries that may be owed."""
        return max(min(BACKLOG, BACKLOG_BYTES // self.size), 4 * self.copies)

    @property
    def parked(self) -> int:
        """Messages after which a queue that nobody reads is purged."""
        return max(16, min(PARKED, PARKED_BYTES // self.size))

    @property
    def patience(self) -> float:
        """Seconds that setting up and taking down may take on top of the ordinary: large topologies are slow."""
        return (self.bindings + self.count + self.queues) / 100

    @property
    def has_latency(self) -> bool:
        """Whether a paced run makes sense."""
        return self.kind == "flow" or (self.kind == "ask" and self.window > 1)

    def scaled(self, factor: float) -> Cell:
        """The cell with a smaller topology, to try it."""
        return replace(
            self,
            bindings=max(min(self.bindings, 10), int(self.bindings * factor)),
            count=int(self.count * factor),
        )


SIZES = {"16B": 16, "1KB": 1024, "64KB": 64 << 10, "4MB": 4 << 20}


def _basic() -> Iterable[Cell]:
    for label, size in SIZES.items():
        yield Cell(f"publish/{label}", "fill", size)
        yield Cell(f"no-ack/{label}", size=size)
        yield Cell(f"ack-each/{label}", size=size, ack="each")
        yield Cell(f"ack-multiple/{label}", size=size, ack="multiple", prefetch=1000)
        yield Cell(f"get/{label}", "ask", size, asks="get", window=1)


def _rest() -> Iterable[Cell]:
    for label in ("16B", "1KB"):
        size = SIZES[label]
        yield Cell(f"confirm/{label}", "ask", size, asks="confirm", window=1000)
        yield Cell(f"confirm-persistent/{label}", "ask", size, asks="confirm", window=1000, persistent=True)
        yield Cell(f"persistent-ack/{label}", size=size, ack="each", persistent=True)
        yield Cell(f"unroutable/{label}", "ask", size, asks="return", window=1000)
    yield Cell("fanout/10", exchange="fanout", queues=10, consumers=10)
    yield Cell("fanout/1000", exchange="fanout", queues=1000, consumers=20)
    yield Cell("topic/1000", exchange="topic", queues=10, bindings=1_000, keys=100)
    yield Cell("topic/100000", exchange="topic", queues=10, bindings=100_000, keys=100)
    yield Cell("headers/1000", exchange="headers", queues=10, bindings=1_000, keys=100)
    yield Cell("unique-keys", exchange="topic", bindings=1, keys=0)
    yield Cell("connections/200x5", queues=100, producers=100, consumers=100, channels=5, ack="multiple")
    yield Cell("producers/50", producers=50)
    yield Cell("consumers/50", consumers=50, ack="each")
    yield Cell("ttl", size=1024, ack="each", arguments={"x-message-ttl": 86_400_000})
    yield Cell("priority", size=1024, ack="each", arguments={"x-max-priority": 10}, priorities=10)
    yield Cell("max-length", size=1024, ack="each", arguments={"x-max-length": 10_000_000})
    yield Cell("rpc/1", "rpc", unit="round trip")
    yield Cell("rpc/50", "rpc", producers=50, unit="round trip")
    yield Cell("idle/10000", "idle", count=10_000, unit="connection")
    yield Cell("declare/1", "declare", count=2_000, unit="queue")
    yield Cell("declare/50", "declare", count=20_000, producers=50, unit="queue")
    yield Cell("queues/100000", "declare", count=100_000, producers=50, unit="queue")


CELLS: dict[str, Cell] = {cell.name: cell for cell in (*_basic(), *_rest())}

SHORT = ("no-ack/16B", "no-ack/1KB", "ack-each/16B", "ack-each/1KB", "confirm/1KB", "confirm-persistent/1KB")
"""The cells of the daily run."""


def chosen(patterns: Iterable[str]) -> list[Cell]:
    """The cells whose names match one of the globs, in the table's order. Raises ValueError for a glob without any."""
    patterns = list(patterns)
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in CELLS):
            raise ValueError(f"no cell is named {pattern}; there are {', '.join(CELLS)}")
    return [cell for name, cell in CELLS.items() if any(fnmatchcase(name, pattern) for pattern in patterns)]
