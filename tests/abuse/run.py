"""A run of many abusive conversations, what the neighbour felt, and what they left behind in the broker."""

from __future__ import annotations

import asyncio
import gc
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.abuse.kinds import Conversation, conversation
from tests.abuse.neighbour import Neighbour
from tests.abuse.talk import Outcome, Talk
from tests.support import proc

CONCURRENCY = 150
DEADLINE = 15.0
WARM_UP = 300
NEIGHBOUR_RATE = 500.0
CALM_SECONDS = 3.0
SETTLE = 40.0
RSS_SLACK = 20 * 2**20
LONGEST_STALL = 5.0
LOG_ALARMS = ("Traceback (most recent call last)", "Task exception was never retrieved", "Exception ignored in")


@dataclass
class Tally:
    """How the conversations of one kind ended."""

    labels: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0
    wrong: int = 0


@dataclass
class Report:
    """Everything that is known after a run."""

    tallies: dict[str, Tally] = field(default_factory=lambda: defaultdict(Tally))
    faults: list[str] = field(default_factory=list)
    seconds: float = 0.0
    cpu: float = 0.0
    before: dict[str, Any] = field(default_factory=dict)
    during: dict[str, Any] = field(default_factory=dict)
    account: dict[str, Any] = field(default_factory=dict)
    usage: dict[str, tuple[float, float]] = field(default_factory=dict)

    def lines(self) -> Iterator[str]:
        """The report as text."""
        yield f"{'kind':<30} {'n':>5} {'wrong':>5} {'slowest':>8}  outcomes"
        for name, tally in sorted(self.tallies.items()):
            labels = ", ".join(f"{label}: {count}" for label, count in tally.labels.most_common(9))
            yield f"{name:<30} {tally.labels.total():>5} {tally.wrong:>5} {tally.slowest:>7.2f}s  {labels}"
        total = sum(tally.labels.total() for tally in self.tallies.values())
        yield f"{total} conversations, {WARM_UP} of them before the clock ran; {self.seconds:.1f} s"
        yield f"broker CPU in that time: {self.cpu:.2f} s"
        yield f"neighbour before: {self.before}"
        yield f"neighbour during: {self.during}"
        if self.before and self.during:
            yield f"neighbour's rate during / before: {self.during['rate'] / max(1.0, self.before['rate']):.2f}"
        yield f"neighbour's account: {self.account}"
        for name, (before, after) in self.usage.items():
            yield f"{name}: {before:g} before, {after:g} after"


class AbuseRun:
    """Conversations number 0 to N of a seed against one broker."""

    def __init__(
        self,
        url: str,
        seed: int,
        *,
        pid: int | None = None,
        read_log: Callable[[], str] | None = None,
        only: str = "",
        save_to: Path | None = None,
        concurrency: int = CONCURRENCY,
    ) -> None:
        parts = urlsplit(url)
        self.url, self.host, self.port = url, parts.hostname or "127.0.0.1", parts.port or 5672
        self.seed, self.pid, self.read_log, self.only, self.save_to = seed, pid, read_log, only, save_to
        self.concurrency = concurrency
        self.report = Report()

    def execute(self, conversations: int) -> Report:
        """Warm up, measure, abuse, settle, judge."""
        report = self.report
        with Neighbour(self.url, NEIGHBOUR_RATE) as neighbour:
            asyncio.run(self._converse(range(-WARM_UP, 0)))
            self._wait_for_connections(1)
            neighbour.report()
            proc.wait_until(lambda: False, CALM_SECONDS)
            report.before = neighbour.report()
            before = self._usage()
            began, cpu = time.monotonic(), proc.cpu_seconds(self.pid) if self.pid else 0.0
            asyncio.run(self._converse(range(conversations)))
            report.seconds = time.monotonic() - began
            report.cpu = proc.cpu_seconds(self.pid) - cpu if self.pid else 0.0
            report.during = neighbour.report()
            self._wait_for_connections(1)
            self._settle(before)
            report.account = neighbour.finish()
        self._wait_for_connections(0)
        self._judge_neighbour()
        self._judge_log()
        return report

    async def _converse(self, numbers: range) -> None:
        """Hold the conversations, many at a time."""
        todo = iter(numbers)

        async def worker() -> None:
            for number in todo:
                name, script = conversation(self.seed, number, self.only)
                outcome = await Talk(script, DEADLINE).hold(self.host, self.port)
                self._enter(number, name, script, outcome)

        await asyncio.gather(*(worker() for _ in range(self.concurrency)))
        gc.collect()

    def _enter(self, number: int, name: str, script: Conversation, outcome: Outcome) -> None:
        tally = self.report.tallies[name]
        tally.labels[outcome.label] += 1
        tally.slowest = max(tally.slowest, outcome.seconds)
        if outcome.acceptable(script.expected):
            return
        tally.wrong += 1
        wanted = f", expected {' or '.join(sorted(script.expected))}" if script.expected else ""
        text = f"{name} (number {number}): {outcome.label}{wanted} [{outcome.text}]"
        if self.save_to is not None:
            self.save_to.mkdir(parents=True, exist_ok=True)
            file = self.save_to / f"{name}.{number}.bin"
            file.write_bytes(b"".join(script.chunks))
            text += f", bytes in {file}"
        self.report.faults.append(text)

    def _usage(self) -> dict[str, float]:
        """What the broker holds now."""
        if self.pid is None:
            return {}
        rss, fds = proc.rss_bytes(self.pid) / 2**20, proc.fd_count(self.pid)
        return {"resident MB": round(rss, 1), "file descriptors": fds}

    def _wait_for_connections(self, count: int) -> None:
        if not proc.wait_until(lambda: proc.server_connections(self.port) <= count, SETTLE):
            left = proc.server_connections(self.port)
            self.report.faults.append(f"{left} connections are still held by the broker, expected at most {count}")

    def _settle(self, before: dict[str, float]) -> None:
        """Wait until the broker has let go of what it took for the abusers."""
        if self.pid is None:
            return

        def settled() -> bool:
            now = self._usage()
            small = now["resident MB"] <= before["resident MB"] + RSS_SLACK / 2**20
            return small and now["file descriptors"] <= before["file descriptors"]

        calm = proc.wait_until(settled, SETTLE)
        after = self._usage()
        self.report.usage = {name: (before[name], after[name]) for name in before}
        if not calm:
            self.report.faults.append(f"after {SETTLE} s the broker still holds {after}, before it was {before}")
        if not proc.alive(self.pid):
            self.report.faults.append("the broker has ended")

    def _judge_neighbour(self) -> None:
        report, account = self.report, self.report.account
        if not account["published"] == account["confirmed"] == account["delivered"]:
            report.faults.append(f"the neighbour lost messages: {account}")
        report.faults += [f"the neighbour saw: {fault}" for fault in account["faults"]]
        stall = max(max(part["worst"], part["worst_confirm"]) for part in (report.during, account))
        if stall > LONGEST_STALL:
            report.faults.append(f"the neighbour waited {stall} s for a message or a confirm")

    def _judge_log(self) -> None:
        log = self.read_log() if self.read_log else ""
        for alarm in LOG_ALARMS:
            count = log.count(alarm)
            if count:
                at = log.index(alarm)
                excerpt = log[max(0, at - 300) : at + 3000]
                self.report.faults.append(f"the log says {count} times {alarm!r}, first:\n{excerpt}")
