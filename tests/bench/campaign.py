"""All runs of all cells on all brokers, in alternation, and the order in which they come.

Peaks first, A B A B; the order turns round from run to run. Then latency, for all brokers at one rate: half of what the
slowest of them reached in that cell.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.bench.cells import Cell
from tests.bench.crew import Crew, LoadError
from tests.bench.measure import Plan, measure, measure_latency
from tests.bench.report import Report
from tests.bench.subjects import Subject

__all__ = ["campaign"]


def campaign(report: Report, crew: Crew, plan: Plan, runs: int, latency_runs: int) -> None:
    """Do it all. A run that fails is noted in the report, and its cell is left out from then on."""
    failed: set[Cell] = set()
    subjects, cells = report.subjects, report.cells
    paced = sum(cell.has_latency for cell in cells) if plan.latency else 0
    # What is large is made once: making it is what is measured.
    steps = sum(1 if cell.count else runs for cell in cells) + paced * latency_runs
    with progress(steps * len(subjects)) as advance:

        def each(cell: Cell, turn: int, work: Callable[[Subject], None]) -> None:
            for subject in subjects if turn % 2 == 0 else subjects[::-1]:
                if cell not in failed:
                    try:
                        work(subject)
                    except LoadError as error:
                        failed.add(cell)
                        report.failures.append(str(error))
                advance(f"{cell.name} on {subject.name}")

        for run in range(runs):
            for cell in cells:
                if not cell.count or not run:
                    each(
                        cell,
                        run,
                        lambda subject, cell=cell: report.add(cell, subject, measure(crew, subject, cell, plan)),
                    )
        for run in range(latency_runs):
            for cell in cells if plan.latency else ():
                if cell.has_latency and cell not in failed:
                    rates = [report.median(cell, subject, lambda figures: figures.per_second) for subject in subjects]
                    pace = report.paces[cell.name] = min(rate for rate in rates if rate is not None) / 2
                    each(
                        cell,
                        run,
                        lambda subject, cell=cell, pace=pace: report.add_latency(
                            cell, subject, measure_latency(crew, subject, cell, pace, plan)
                        ),
                    )


@contextmanager
def progress(steps: int) -> Iterator[Callable[[str], None]]:
    """A bar on a terminal, when tqdm is there; else a line for each step."""
    try:
        from tqdm import tqdm
    except ImportError:
        done = 0

        def line(what: str) -> None:
            nonlocal done
            done += 1
            print(f"{done}/{steps} {what}", file=sys.stderr, flush=True)

        yield line
        return
    with tqdm(total=steps, leave=False) as bar:

        def advance(what: str) -> None:
            bar.set_description(what)
            bar.update()

        yield advance
