"""The alarms of the node: which resources run short, in words that clients are told, and who has to hear of it.

An alarm stops nobody by itself. Every connection is told when the first one is raised and when the last one has
cleared, and holds back those that publish; what consumes goes on, for that is what makes room again. Who measures, and
decides that something runs short, is outside the core (`server/resources`).

Source: RabbitMQ's rabbit_alarm; the words of connection.blocked are those of its rabbit_reader, followed by figures.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

__all__ = ["DISK", "MEMORY", "Alarms", "Listener"]

MEMORY = "memory"
DISK = "disk"


def unobserved(kind: str, resource: str) -> None:
    """Nobody wants to know."""


class Listener(Protocol):
    """A connection of a client."""

    def alarms_changed(self) -> None:
        """The first alarm is on, or the last one is off."""


class Alarms:
    """What runs short. `listeners` are those to tell, whoever they are at the time; `observe(kind, resource)` hears of
    each alarm that comes on, "alarm.set", and goes off, "alarm.cleared"."""

    def __init__(self, listeners: Iterable[Listener], observe: Callable[[str, str], None] = unobserved) -> None:
        self.listeners = listeners
        self.observe = observe
        self.figures: dict[str, str] = {}
        """The resources whose alarm is on, and how much of each there is."""

    @property
    def on(self) -> bool:
        """Are publishers to be held back?"""
        return bool(self.figures)

    @property
    def reason(self) -> str:
        """What connection.blocked says."""
        short = [resource for resource in (MEMORY, DISK) if resource in self.figures]
        return f"low on {' & '.join(short)}: {'; '.join(self.figures[resource] for resource in short)}"

    def raise_(self, resource: str, figures: str) -> None:
        """The resource runs short, or still does: then only the figures are new."""
        was_on = self.on
        if resource not in self.figures:
            self.observe("alarm.set", resource)
        self.figures[resource] = figures
        if not was_on:
            self.tell()

    def clear(self, resource: str) -> None:
        """There is enough of the resource."""
        if self.figures.pop(resource, None) is None:
            return
        self.observe("alarm.cleared", resource)
        if not self.on:
            self.tell()

    def tell(self) -> None:
        for listener in list(self.listeners):
            listener.alarms_changed()
