"""The figures as bars: CPU per message and messages per second, one group per cell, one colour per broker."""

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
    thickness = 0.8 / len(subjects)
    for axis, (title, of) in zip(axes, panels, strict=True):
        for number, subject in enumerate(subjects):
            values = [report.median(cell, subject, of) or 0.0 for cell in cells]
            places = [row + (number - (len(subjects) - 1) / 2) * thickness for row in range(len(cells))]
            bars = axis.barh(places, values, thickness, label=f"{subject.name} ({subject.version})")
            axis.bar_label(bars, [f"{value:,.3g}" if value < 1000 else f"{value:,.0f}" for value in values], padding=2)
        axis.set_title(title, fontsize=10)
        axis.set_xscale("log")
        axis.margins(x=0.15)
    axes[0].set_yticks(range(len(cells)), [cell.name for cell in cells])
    axes[0].invert_yaxis()
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(subjects), fontsize=8)
    figure.savefig(path)
    pyplot.close(figure)
