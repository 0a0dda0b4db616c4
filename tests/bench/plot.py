"""The figures as dots: CPU per message and messages per second, one line per cell, one colour per broker.

Cells differ by orders of magnitude, so the axes are logarithmic, on which the length of a bar would mean nothing.
"""

from __future__ import annotations

from pathlib import Path

from tests.bench.report import Report

__all__ = ["PlotError", "plot"]

PER_ROW = 0.55
"""Inches that a cell takes."""


class PlotError(Exception):
    """There is nothing to draw with."""


def plot(report: Report, path: Path) -> None:
    """Draw into a file whose name says how: .svg or .png. Raises PlotError without matplotlib."""
    try:
        import matplotlib
    except ImportError:
        raise PlotError("--plot needs matplotlib: pip install '.[bench]'") from None
    matplotlib.use("Agg")
    from matplotlib import pyplot

    subjects = report.subjects
    cells = [cell for cell in report.cells if any((cell.name, subject.name) in report.runs for subject in subjects)]
    panels = (
        ("broker CPU per message, microseconds (less is better)", lambda figures: figures.cpu),
        ("messages per second (more is better)", lambda figures: figures.per_second),
    )
    figure, axes = pyplot.subplots(1, 2, figsize=(12, 1.5 + PER_ROW * len(cells)), sharey=True, layout="constrained")
    for axis, (title, of) in zip(axes, panels, strict=True):
        for subject in subjects:
            found = [(report.median(cell, subject, of), row) for row, cell in enumerate(cells)]
            points = [(value, row) for value, row in found if value]
            axis.plot(*zip(*points, strict=True), "o", label=f"{subject.name}: {subject.version}") if points else None
            for value, row in points:
                text = f"{value:,.3g}" if value < 1000 else f"{value:,.0f}"
                axis.annotate(text, (value, row), (0, 6), textcoords="offset points", ha="center", fontsize=7)
        axis.set_title(title, fontsize=10)
        axis.set_xscale("log")
        axis.grid(axis="y", alpha=0.3)
        axis.margins(x=0.1, y=0.1)
    axes[0].set_yticks(range(len(cells)), [cell.name for cell in cells])
    axes[0].invert_yaxis()
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(subjects), fontsize=8)
    figure.savefig(path)
    pyplot.close(figure)
