"""What the runs have shown: a table to read, JSON to keep. Every figure is a median over the runs.

The first broker is compared with each of the others run by run: each pair was measured within seconds, so neighbours
on the machine disturb both; the median of these ratios is what counts, not the ratio of medians.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.bench.cells import Cell
from tests.bench.measure import Figures
from tests.bench.subjects import Subject

__all__ = ["Report"]

NAME_WIDTH = 24


@dataclass
class Report:
    """The figures of all runs, by cell and by broker."""

    subjects: list[Subject]
    cells: list[Cell]
    runs: dict[tuple[str, str], list[Figures]] = field(default_factory=dict)
    latencies: dict[tuple[str, str], list[dict[str, float]]] = field(default_factory=dict)
    paces: dict[str, float] = field(default_factory=dict)
    """Messages per second of the latency runs, by cell."""
    failures: list[str] = field(default_factory=list)

    def add(self, cell: Cell, subject: Subject, figures: Figures) -> None:
        """A run is over."""
        self.runs.setdefault((cell.name, subject.name), []).append(figures)
        if figures.latency:
            self.latencies.setdefault((cell.name, subject.name), []).append(figures.latency)

    def add_latency(self, cell: Cell, subject: Subject, latency: dict[str, float]) -> None:
        """A paced run is over."""
        self.latencies.setdefault((cell.name, subject.name), []).append(latency)

    def median(self, cell: Cell, subject: Subject, of: Callable[[Figures], float | None]) -> float | None:
        """The median over the runs; None without runs or when one has no such figure."""
        found = [of(figures) for figures in self.runs.get((cell.name, subject.name), [])]
        values = [value for value in found if value is not None]
        return statistics.median(values) if values and len(values) == len(found) else None

    def latency(self, cell: Cell, subject: Subject, point: str) -> float | None:
        """The median of a percentile, in milliseconds."""
        found = [latency[point] for latency in self.latencies.get((cell.name, subject.name), []) if point in latency]
        return statistics.median(found) if found else None

    def ratio(self, cell: Cell, other: Subject, of: Callable[[Figures], float | None]) -> float | None:
        """The first broker's figure over the other's, pair by pair."""
        ours = self.runs.get((cell.name, self.subjects[0].name), [])
        theirs = self.runs.get((cell.name, other.name), [])
        pairs = [(of(mine), of(its)) for mine, its in zip(ours, theirs, strict=False)]
        ratios = [mine / its for mine, its in pairs if mine is not None and its]
        return statistics.median(ratios) if ratios else None

    # ------------------------------------------------------------------------------------------------ table

    def table(self, verbose: bool = False) -> Iterator[str]:
        """Lines of text."""
        for subject in self.subjects:
            yield f"{subject.name}: {subject.version}"
        yield ""
        width = max(len(subject.name) for subject in self.subjects) + 2
        yield (
            f"{'':<{NAME_WIDTH}}{'':<{width}}{'per second':>12}{'CPU us':>10}{'RSS MB':>9}"
            f"{'p50 ms':>10}{'p99 ms':>10}{'p99.9 ms':>10}"
        )
        for cell in self.cells:
            for number, subject in enumerate(self.subjects):
                name = cell.name if not number else ""
                yield f"{name:<{NAME_WIDTH}}{subject.name:<{width}}{self._row(cell, subject)}"
                yield from self._notes(cell, subject, verbose)
            for other in self.subjects[1:]:
                yield from self._comparison(cell, other)
        for failure in self.failures:
            yield f"FAILED: {failure}"

    def _row(self, cell: Cell, subject: Subject) -> str:
        rss = self.median(cell, subject, lambda figures: figures.rss)
        columns = [
            _number(self.median(cell, subject, lambda figures: figures.per_second), 12, 0),
            _number(self.median(cell, subject, lambda figures: figures.cpu), 10, 2),
            _number(rss / 1e6 if rss else None, 9, 0),
            *(_number(self.latency(cell, subject, point), 10, 2) for point in ("p50", "p99", "p99.9")),
        ]
        return "".join(columns)

    def _comparison(self, cell: Cell, other: Subject) -> Iterator[str]:
        rate = self.ratio(cell, other, lambda figures: figures.per_second)
        cpu = self.ratio(cell, other, lambda figures: figures.cpu)
        if rate is not None:
            less = f", CPU {1 / cpu:.2f} times less" if cpu else ""
            yield f"{'':<{NAME_WIDTH}}against {other.name}: {rate:.2f} times as many{less}"

    def _notes(self, cell: Cell, subject: Subject, verbose: bool) -> Iterator[str]:
        runs = self.runs.get((cell.name, subject.name), [])
        for key in runs[0].extra if runs else ():
            value = statistics.median(figures.extra[key] for figures in runs if key in figures.extra)
            yield f"{'':<{NAME_WIDTH}}  {key}: {value:,.2f}"
        if verbose and runs:
            parts = {key: statistics.median(figures.load_cpu[key] for figures in runs) for key in runs[0].load_cpu}
            text = ", ".join(f"{key} {value:.2f} us" for key, value in parts.items())
            pace = f"; latency at {self.paces[cell.name]:,.0f}/s" if cell.name in self.paces else ""
            yield f"{'':<{NAME_WIDTH}}  the load itself: {text}{pace}"

    # ------------------------------------------------------------------------------------------------- JSON

    def write_json(self, path: Path) -> None:
        """Everything, run by run."""
        path.write_text(json.dumps(self.as_json(), indent=1) + "\n")

    def as_json(self) -> dict[str, Any]:
        """Everything, as JSON has it."""
        return {
            "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "machine": {"system": platform.platform(), "cores": os.cpu_count(), "python": platform.python_version()},
            "brokers": {subject.name: subject.version for subject in self.subjects},
            "cells": {cell.name: self._cell_json(cell) for cell in self.cells},
            "failures": self.failures,
        }

    def _cell_json(self, cell: Cell) -> dict[str, Any]:
        brokers: dict[str, Any] = {}
        for subject in self.subjects:
            brokers[subject.name] = {
                "per_second": self.median(cell, subject, lambda figures: figures.per_second),
                "cpu_us": self.median(cell, subject, lambda figures: figures.cpu),
                "rss_bytes": self.median(cell, subject, lambda figures: figures.rss),
                "latency_ms": {point: self.latency(cell, subject, point) for point in ("p50", "p99", "p99.9", "max")},
                "runs": [asdict(figures) for figures in self.runs.get((cell.name, subject.name), [])],
            }
        ratios = {
            other.name: {
                "per_second": self.ratio(cell, other, lambda figures: figures.per_second),
                "cpu_us": self.ratio(cell, other, lambda figures: figures.cpu),
            }
            for other in self.subjects[1:]
        }
        return {
            "unit": cell.unit,
            "latency_at_per_second": self.paces.get(cell.name),
            "brokers": brokers,
            "ratios": ratios,
        }


def _number(value: float | None, width: int, digits: int) -> str:
    return f"{'-':>{width}}" if value is None else f"{value:>{width},.{digits}f}"
