"""The node's resources, and the alarms that are raised when they run short.

    memory   looked at every `interval`. Above the limit, what can be given back is given back first, so that no garbage
             raises an alarm. While the alarm is on that goes on, within a share of the time: the resident set falls no
             other way
    disk     looked at the more often the less is free over the limit, as if it were filled at 250 MB/s: every 10 s to
             every 100 ms; every second while the alarm is on, so that publishers go on soon

Log lines are RabbitMQ's (vm_memory_monitor, rabbit_disk_monitor, rabbit_alarm).
"""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import NamedTuple

from amqpd.core.alarms import DISK, MEMORY, Alarms
from amqpd.server import memory

__all__ = ["Limits", "Probes", "Resources", "Threshold"]

log = logging.getLogger("amqpd.resources")

FAST_RATE = 250_000_000
"""Octets per second at which a disk is filled in the worst case."""

DISK_POLL_MIN, DISK_POLL_MAX, DISK_POLL_ALARMED = 0.1, 10.0, 1.0
"""Seconds between looks at the disk."""

COLLECTION_SHARE = 0.05
"""The part of the time that collections may take while the memory alarm is on."""

MIB = 1 << 20

BANNER = """\
%s resource limit alarm set on node '%s'.

**********************************************************
*** Publishers will be blocked until this alarm clears ***
**********************************************************
"""


class Threshold(NamedTuple):
    """A limit: octets, or else a fraction of the memory that there is."""

    octets: int | None = None
    fraction: float | None = None

    def of(self, total: int) -> int:
        """The limit in octets."""
        return int(total * (self.fraction or 0)) if self.octets is None else self.octets


class Limits(NamedTuple):
    """What is configured. `total` stands for what the system says; `interval` is in milliseconds."""

    memory: Threshold = Threshold(fraction=0.6)
    disk: Threshold = Threshold(octets=50_000_000)
    total: int | None = None
    interval: int = 1000


def free(directory: Path) -> int:
    """Octets that can still be written to the disk of a directory. Raises OSError."""
    return shutil.disk_usage(directory).free


@dataclass(frozen=True, slots=True)
class Probes:
    """Where the figures come from."""

    memory_used: Callable[[], int] = memory.used
    memory_total: Callable[[], int] = memory.total
    give_back: Callable[[], None] = memory.give_back
    disk_free: Callable[[Path], int] = free


class Resources:
    """Watches the memory of this process and the disk of `directory`, from `start` to `stop`."""

    def __init__(
        self, node: str, directory: Path, alarms: Alarms, limits: Limits | None = None, probes: Probes | None = None
    ) -> None:
        self.node = node
        self.directory = directory
        self.alarms = alarms
        self.limits = self.configured = limits or Limits()
        self.probes = probes or Probes()
        self.total = self.limits.total or self.probes.memory_total()
        self.disk_free: int | None = None
        """As last seen; None: it cannot be seen."""
        self.collected_until = 0.0
        self.memory_timer: asyncio.TimerHandle | None = None
        self.disk_timer: asyncio.TimerHandle | None = None

    # ------------------------------------------------------------------------------------------- the limits

    @property
    def memory_limit(self) -> int:
        """Octets above which the memory alarm is on. More than there is cannot be had."""
        return min(self.limits.memory.of(self.total), self.total)

    @property
    def disk_limit(self) -> int:
        """Octets below which the disk alarm is on."""
        return self.limits.disk.of(self.total)

    def configure(self, limits: Limits) -> None:
        """Other limits were configured. Without a change those stay that `set_memory` and `set_disk` have set."""
        if limits != self.configured:
            self.configured = limits
            self.apply(limits)

    def set_memory(self, threshold: Threshold) -> None:
        """Another limit for the memory, until the next start."""
        self.apply(self.limits._replace(memory=threshold))

    def set_disk(self, threshold: Threshold) -> None:
        """Another limit for the disk, until the next start."""
        self.apply(self.limits._replace(disk=threshold))

    def apply(self, limits: Limits) -> None:
        """These limits hold, and what they decide is decided at once."""
        self.limits = limits
        self.total = limits.total or self.probes.memory_total()
        limit, total = self.memory_limit, self.total
        log.info(
            "Memory high watermark set to %d MiB (%d bytes) of %d MiB (%d bytes) total",
            limit // MIB,
            limit,
            total // MIB,
            total,
        )
        log.info("Disk free limit set to %dMB", self.disk_limit // 1_000_000)
        self.collected_until = 0.0
        self.check_memory()
        self.check_disk()
        if self.memory_timer is not None:
            self.stop()
            self.schedule()

    # --------------------------------------------------------------------------------------------- watching

    def start(self) -> None:
        """Decide now, and look again and again from here on."""
        self.apply(self.limits)
        self.schedule()

    def schedule(self) -> None:
        loop = asyncio.get_running_loop()
        self.memory_timer = loop.call_later(self.limits.interval / 1000, self.watch_memory)
        self.disk_timer = loop.call_later(self.disk_interval, self.watch_disk)

    def stop(self) -> None:
        """Look no more."""
        for timer in (self.memory_timer, self.disk_timer):
            if timer is not None:
                timer.cancel()
        self.memory_timer = self.disk_timer = None

    def watch_memory(self) -> None:
        self.check_memory()
        self.memory_timer = asyncio.get_running_loop().call_later(self.limits.interval / 1000, self.watch_memory)

    def watch_disk(self) -> None:
        self.check_disk()
        self.disk_timer = asyncio.get_running_loop().call_later(self.disk_interval, self.watch_disk)

    @property
    def disk_interval(self) -> float:
        """Seconds until the disk has to be looked at again."""
        if DISK in self.alarms.figures:
            return DISK_POLL_ALARMED
        if self.disk_free is None:
            return DISK_POLL_MAX
        return max(DISK_POLL_MIN, min(DISK_POLL_MAX, 2 * (self.disk_free - self.disk_limit) / FAST_RATE))

    # --------------------------------------------------------------------------------------------- deciding

    def check_memory(self) -> None:
        """Raise or clear the memory alarm."""
        limit, used = self.memory_limit, self.probes.memory_used()
        alarmed = MEMORY in self.alarms.figures
        began = monotonic()
        if used > limit and (not alarmed or began >= self.collected_until):
            self.probes.give_back()
            ended = monotonic()
            self.collected_until = ended + (ended - began) / COLLECTION_SHARE
            used = self.probes.memory_used()
        short = used > limit
        if short != alarmed:
            verb = "set" if short else "clear"
            log.info("vm_memory_high_watermark %s. Memory used:%d allowed:%d", verb, used, limit)
        self.decide(MEMORY, short, f"{megabytes(used)} used, limit {megabytes(limit)}")

    def check_disk(self) -> None:
        """Raise or clear the disk alarm. A disk that does not say how much is free changes nothing."""
        limit, seen = self.disk_limit, self.disk_free
        try:
            self.disk_free = available = self.probes.disk_free(self.directory)
        except OSError as error:
            if seen is not None or not self.disk_timer:
                log.warning("how much is free on the disk of %s cannot be seen: %s", self.directory, error)
            self.disk_free = None
            return
        short = available < limit
        if short != (DISK in self.alarms.figures):
            verb = "insufficient" if short else "sufficient"
            log.info("Free disk space is %s. Free bytes: %d. Limit: %d", verb, available, limit)
        self.decide(DISK, short, f"{megabytes(available)} free, limit {megabytes(limit)}")

    def decide(self, resource: str, short: bool, figures: str) -> None:
        was_short = resource in self.alarms.figures
        if short and not was_short:
            log.warning(BANNER, resource, self.node)
        elif was_short and not short:
            log.warning("%s resource limit alarm cleared on node '%s'", resource, self.node)
            log.warning("%s resource limit alarm cleared across the cluster", resource)
        if short:
            self.alarms.raise_(resource, figures)
        else:
            self.alarms.clear(resource)


def megabytes(octets: int) -> str:
    """`612.4 MB`."""
    return f"{octets / 1_000_000:.1f} MB"
