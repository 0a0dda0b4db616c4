"""amqpd with a probe in its event loop: `python -m tests.bench.stall_node REPORT [amqpd's arguments]`.

A timer looks every millisecond how late it is: that is how long the loop did something else. The collector says when it
begins and ends, so that its share of each stall is known. SIGUSR1 writes what was seen since the last time to REPORT,
as JSON; SIGUSR2 runs a full collection, which the collector's own schedule may not do for minutes.
"""

from __future__ import annotations

import asyncio
import gc
import heapq
import json
import signal
import sys
from pathlib import Path
from time import perf_counter, thread_time
from typing import Any

from amqpd import node
from amqpd.cli.server import main

INTERVAL = 0.001
KEPT = 10
"""The longest stalls that are reported."""


class Probe:
    """The timer and its notes. Times are seconds."""

    def __init__(self, report: Path) -> None:
        self.report = report
        self.collector_began = 0.0
        self.loop: asyncio.AbstractEventLoop
        self.forget()

    def forget(self) -> None:
        """Begin a new phase."""
        self.stalls: list[tuple[float, float, float]] = []
        """Length, collector's share, and CPU time of the thread: the rest it waited for a core."""
        self.collector = 0.0
        """Time of the collector since the timer's last look."""
        self.collector_total = 0.0
        self.collections: dict[int, list[float]] = {}

    def start(self) -> None:
        """Begin to look, in the running loop."""
        self.loop = asyncio.get_running_loop()
        if hasattr(gc, "callbacks"):
            # PyPy has none: there the collector's share is not known.
            gc.callbacks.append(self.collecting)
        self.loop.add_signal_handler(signal.SIGUSR1, self.write)
        self.loop.add_signal_handler(signal.SIGUSR2, gc.collect)
        self.due, self.busy = self.loop.time() + INTERVAL, thread_time()
        self.loop.call_at(self.due, self.look)

    def look(self) -> None:
        now, busy = self.loop.time(), thread_time()
        heapq.heappush(self.stalls, (now - self.due, self.collector, busy - self.busy))
        if len(self.stalls) > KEPT:
            heapq.heappop(self.stalls)
        self.collector = 0.0
        self.busy = busy
        self.due = now + INTERVAL
        self.loop.call_at(self.due, self.look)

    def collecting(self, phase: str, info: dict[str, Any]) -> None:
        if phase == "start":
            self.collector_began = perf_counter()
            return
        took = perf_counter() - self.collector_began
        self.collector += took
        self.collector_total += took
        self.collections.setdefault(info["generation"], []).append(took)

    def write(self) -> None:
        """Report and begin anew. The file is there when it is complete."""
        found = {
            "stalls": sorted(self.stalls, reverse=True),
            "collector": self.collector_total,
            "collections": {generation: [len(took), max(took)] for generation, took in self.collections.items()},
        }
        draft = self.report.with_suffix(".new")
        draft.write_text(json.dumps(found))
        draft.rename(self.report)
        self.forget()


def watched(probe: Probe) -> None:
    """Have every node of this process probed."""
    serve = node.serve

    async def probing(*arguments: Any) -> int:
        probe.start()
        return await serve(*arguments)

    node.serve = probing


if __name__ == "__main__":
    watched(Probe(Path(sys.argv.pop(1))))
    main()
