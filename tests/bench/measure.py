"""One run of one cell on one broker: workers start, what they do is counted between two looks, everything is verified.

CPU and messages are counted over the same interval, which begins when the flow is under way and ends before it does:
neither connecting nor running dry is in the figures. CPU is user and system time of the broker's process tree.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.bench import ask, flow, masses, rpc
from tests.bench.cells import Cell
from tests.bench.crew import DONE, FROM, PATIENCE, Crew, Job, LoadError
from tests.bench.masses import NAME
from tests.bench.subjects import Subject
from tests.bench.topology import Topology, connect, remove_queues
from tests.support import proc

__all__ = ["Figures", "Plan", "measure", "measure_latency"]

SCENARIOS: dict[str, list[Callable[[Job], dict[str, Any]]]] = {
    "flow": [flow.send, flow.receive],
    "ask": [ask.ask],
    "fill": [ask.fill],
    "rpc": [rpc.call, rpc.serve],
    "idle": [masses.idle],
    "declare": [masses.declare],
}
"""The workers' functions per kind of cell: the sender's, the receiver's."""

STEP = 0.05


@dataclass(frozen=True)
class Plan:
    """Seconds of a run."""

    warm: float
    seconds: float
    latency: float


@dataclass
class Figures:
    """What one run has shown. `per_second` and `cpu` (microseconds) are per message, or whatever the cell's unit is."""

    per_second: float
    cpu: float | None
    rss: int | None
    load_cpu: dict[str, float] = field(default_factory=dict)
    """Microseconds per message that the load generator's processes took."""
    latency: dict[str, float] = field(default_factory=dict)
    """Milliseconds."""
    extra: dict[str, float] = field(default_factory=dict)


def measure(crew: Crew, subject: Subject, cell: Cell, plan: Plan) -> Figures:
    """One run at full speed. Raises LoadError, with the cell's name, when it did not go as it must."""
    try:
        return _masses(crew, subject, cell) if cell.count else _stream(crew, subject, cell, plan)
    except (LoadError, OSError) as error:
        crew.dismiss()
        raise LoadError(f"{cell.name} on {subject.name}: {error}{subject.last_words()}") from error


def measure_latency(crew: Crew, subject: Subject, cell: Cell, rate: float, plan: Plan) -> dict[str, float]:
    """A run at so many messages a second: latencies in milliseconds. Raises LoadError as `measure` does."""
    topology = Topology(cell)
    timeout = PATIENCE + cell.patience
    try:
        topology.declare(subject.url, timeout)
        crew.start(SCENARIOS[cell.kind], subject.url, cell, rate)
        if not crew.watch(plan.warm):
            crew.board[FROM] = time.monotonic_ns()
            crew.watch(plan.latency)
        results = crew.finish(PATIENCE)
        topology.remove(subject.url, timeout)
    except (LoadError, OSError) as error:
        crew.dismiss()
        raise LoadError(
            f"{cell.name} on {subject.name}, {rate:,.0f} a second: {error}{subject.last_words()}"
        ) from error
    return _latency(results)


def _stream(crew: Crew, subject: Subject, cell: Cell, plan: Plan) -> Figures:
    topology = Topology(cell)
    timeout = PATIENCE + cell.patience
    topology.declare(subject.url, timeout)
    pid, board = subject.pid, crew.board
    if pid:
        proc.forget_peak_rss(pid)
    crew.start(SCENARIOS[cell.kind], subject.url, cell, 0.0)
    deadline = time.monotonic() + plan.warm
    while time.monotonic() < deadline or not board[DONE]:
        if crew.watch(STEP) or time.monotonic() > deadline + PATIENCE:
            raise LoadError("nothing happened")
    board[FROM] = time.monotonic_ns()
    before = _look(subject, board)
    crew.watch(plan.seconds)
    after = _look(subject, board)
    rss = proc.peak_rss_bytes(pid) if pid else None
    results = crew.finish(PATIENCE)
    topology.remove(subject.url, timeout)
    done = after.done - before.done
    if not done:
        raise LoadError("nothing was finished in the interval")
    total = results["sender"]["sent"] * cell.copies
    return Figures(
        done / (after.at - before.at),
        1e6 * (after.cpu - before.cpu) / done if pid else None,
        rss,
        {name: 1e6 * result["cpu"] / total for name, result in results.items()},
        _latency(results),
    )


def _masses(crew: Crew, subject: Subject, cell: Cell) -> Figures:
    """The cells that end by themselves: time and memory for each of what they make."""
    pid, board, count = subject.pid, crew.board, cell.count
    before_rss = proc.rss_bytes(pid) if pid else 0
    crew.start(SCENARIOS[cell.kind], subject.url, cell, 0.0)
    before = _look(subject, board)
    seen, deadline = 0, time.monotonic() + PATIENCE
    while board[DONE] < count:
        if crew.watch(STEP / 5):
            raise LoadError("it ended too early")
        if board[DONE] > seen:
            seen, deadline = board[DONE], time.monotonic() + PATIENCE
        if time.monotonic() > deadline:
            raise LoadError(f"it stands still at {seen} of {count}")
    after = _look(subject, board)
    rss = proc.rss_bytes(pid) if pid else 0
    results = crew.finish(PATIENCE)
    figures = Figures(
        count / (after.at - before.at),
        1e6 * (after.cpu - before.cpu) / count if pid else None,
        rss or None,
        {name: 1e6 * result["cpu"] / count for name, result in results.items()},
    )
    figures.extra["seconds"] = after.at - before.at
    if pid:
        figures.extra["bytes each"] = (rss - before_rss) / count
    if cell.kind == "declare":
        _after_declaring(subject, cell, figures)
    return figures


def _after_declaring(subject: Subject, cell: Cell, figures: Figures) -> None:
    """Time a restart where that can be done, see that the queues are there, and get rid of them."""
    timeout = PATIENCE + cell.patience
    if subject.process is not None:
        figures.extra["restart seconds"] = subject.restart()
    with connect(subject.url, timeout) as client:
        client.open_channel()
        client.declare_queue(NAME.format(cell.count - 1), passive=True)
        client.close()
    if subject.process is not None:
        subject.renew()
    else:
        remove_queues(subject.url, [NAME.format(number) for number in range(cell.count)], timeout)


@dataclass(frozen=True)
class Look:
    """The state of things at one moment."""

    at: float
    done: int
    cpu: float


def _look(subject: Subject, board: Any) -> Look:
    cpu = proc.cpu_seconds(subject.pid) if subject.pid else 0.0
    return Look(time.monotonic(), board[DONE], cpu)


def _latency(results: dict[str, dict[str, Any]]) -> dict[str, float]:
    for result in results.values():
        if result.get("latency"):
            return dict(result["latency"])
    return {}
