"""When memory and disk run short, by figures that a test makes up."""

from __future__ import annotations

import asyncio
import logging
import re
from pathlib import Path

import pytest

from amqpd.core.alarms import Alarms
from amqpd.server.resources import Limits, Probes, Resources, Threshold

MB = 1_000_000


class System:
    """A machine with 1000 MB of memory and a disk; `garbage` can be given back."""

    def __init__(self) -> None:
        self.used = 100 * MB
        self.garbage = 0
        self.collections = 0
        self.free: int | OSError = 500 * MB
        self.alarms = Alarms([])

    def disk_free(self, directory: Path) -> int:
        if isinstance(self.free, OSError):
            raise self.free
        return self.free

    def give_back(self) -> None:
        self.collections += 1
        self.used -= self.garbage
        self.garbage = 0

    def resources(self, limits: Limits) -> Resources:
        probes = Probes(lambda: self.used, lambda: 1000 * MB, self.give_back, self.disk_free)
        return Resources("amqpd@test", Path("/data"), self.alarms, limits, probes)


@pytest.fixture
def system(caplog: pytest.LogCaptureFixture) -> System:
    caplog.set_level(logging.INFO, "amqpd.resources")
    return System()


def check(resources: Resources) -> list[str]:
    """Look at everything; what is short."""
    resources.check_memory()
    resources.check_disk()
    return list(resources.alarms.figures)


@pytest.mark.parametrize(
    ("threshold", "limit"),
    [
        (Threshold(fraction=0.6), 600 * MB),
        (Threshold(fraction=0), 0),
        (Threshold(octets=300 * MB), 300 * MB),
        (Threshold(octets=5000 * MB), 1000 * MB),
    ],
)
def test_the_memory_limit(system: System, threshold: Threshold, limit: int) -> None:
    assert system.resources(Limits(memory=threshold)).memory_limit == limit


def test_what_is_configured_replaces_what_the_system_says(system: System) -> None:
    resources = system.resources(Limits(total=200 * MB, disk=Threshold(fraction=2)))
    assert (resources.memory_limit, resources.disk_limit) == (120 * MB, 400 * MB)


def test_memory_runs_short_and_does_no_longer(system: System, caplog: pytest.LogCaptureFixture) -> None:
    resources = system.resources(Limits())
    assert check(resources) == []
    system.used = 612_400_000
    assert check(resources) == ["memory"]
    assert system.alarms.reason == "low on memory: 612.4 MB used, limit 600.0 MB"
    system.used = 700 * MB
    assert check(resources) == ["memory"]
    assert system.alarms.reason == "low on memory: 700.0 MB used, limit 600.0 MB"
    system.used = 600 * MB
    assert check(resources) == []
    assert [(record.levelname, record.getMessage().split("\n")) for record in caplog.records] == [
        ("INFO", ["vm_memory_high_watermark set. Memory used:612400000 allowed:600000000"]),
        (
            "WARNING",
            [
                "memory resource limit alarm set on node 'amqpd@test'.",
                "",
                "**********************************************************",
                "*** Publishers will be blocked until this alarm clears ***",
                "**********************************************************",
                "",
            ],
        ),
        ("INFO", ["vm_memory_high_watermark clear. Memory used:600000000 allowed:600000000"]),
        ("WARNING", ["memory resource limit alarm cleared on node 'amqpd@test'"]),
        ("WARNING", ["memory resource limit alarm cleared across the cluster"]),
    ]


def test_garbage_raises_no_alarm(system: System) -> None:
    resources = system.resources(Limits())
    system.used, system.garbage = 700 * MB, 200 * MB
    assert check(resources) == []
    assert system.collections == 1
    assert check(resources) == []
    assert system.collections == 1
    system.used = 700 * MB
    assert check(resources) == ["memory"]
    assert system.collections == 2


def test_collections_go_on_while_the_alarm_is_on_but_do_not_take_all_the_time(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    time = 0.0

    def give_back() -> None:
        nonlocal time
        time += 0.5
        system.collections += 1

    monkeypatch.setattr("amqpd.server.resources.monotonic", lambda: time)
    monkeypatch.setattr(system, "give_back", give_back)
    resources = system.resources(Limits())
    system.used = 700 * MB
    for _ in range(100):
        assert check(resources) == ["memory"]
        time += 1.0
    assert 5 <= system.collections <= 11


def test_the_disk_runs_short_and_does_no_longer(system: System, caplog: pytest.LogCaptureFixture) -> None:
    resources = system.resources(Limits())
    system.free = 40 * MB
    assert check(resources) == ["disk"]
    assert system.alarms.reason == "low on disk: 40.0 MB free, limit 50.0 MB"
    system.free = 50 * MB
    assert check(resources) == []
    lines = [record.getMessage().split("\n")[0] for record in caplog.records]
    assert lines == [
        "Free disk space is insufficient. Free bytes: 40000000. Limit: 50000000",
        "disk resource limit alarm set on node 'amqpd@test'.",
        "Free disk space is sufficient. Free bytes: 50000000. Limit: 50000000",
        "disk resource limit alarm cleared on node 'amqpd@test'",
        "disk resource limit alarm cleared across the cluster",
    ]


def test_a_disk_that_cannot_be_seen_changes_nothing(system: System, caplog: pytest.LogCaptureFixture) -> None:
    resources = system.resources(Limits())
    system.free = 40 * MB
    check(resources)
    system.free = OSError("stale handle")
    assert check(resources) == ["disk"]
    assert "how much is free on the disk of /data cannot be seen: stale handle" in caplog.text
    system.free = 60 * MB
    assert check(resources) == []


@pytest.mark.parametrize(("free", "seconds"), [(50, 0.1), (60, 0.1), (300, 2.0), (5000, 10.0), (40, 1.0)])
def test_the_less_is_free_the_more_often_it_is_looked_at(system: System, free: int, seconds: float) -> None:
    resources = system.resources(Limits())
    system.free = free * MB
    resources.check_disk()
    assert resources.disk_interval == pytest.approx(seconds)


def test_other_limits_count_at_once_and_stay_until_others_are_configured(system: System) -> None:
    limits = Limits()
    resources = system.resources(limits)
    resources.set_memory(Threshold(fraction=0.01))
    resources.set_disk(Threshold(octets=501 * MB))
    assert list(system.alarms.figures) == ["memory", "disk"]
    resources.configure(limits)
    assert list(system.alarms.figures) == ["memory", "disk"]
    resources.configure(limits._replace(memory=Threshold(fraction=0.5)))
    assert list(system.alarms.figures) == []


def test_it_says_which_limits_hold(system: System, caplog: pytest.LogCaptureFixture) -> None:
    system.resources(Limits()).apply(Limits())
    assert [record.getMessage() for record in caplog.records] == [
        "Memory high watermark set to 572 MiB (600000000 bytes) of 953 MiB (1000000000 bytes) total",
        "Disk free limit set to 50MB",
    ]


def test_it_watches_from_start_to_stop(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("amqpd.server.resources.DISK_POLL_MAX", 0.01)

    async def watch() -> None:
        resources = system.resources(Limits(interval=5))
        resources.start()
        looks = [asyncio.Event(), asyncio.Event()]
        monkeypatch.setattr(resources, "check_memory", looks[0].set)
        monkeypatch.setattr(resources, "check_disk", looks[1].set)
        for _ in range(3):
            for look in looks:
                await asyncio.wait_for(look.wait(), 10)
                look.clear()
        resources.set_memory(Threshold(fraction=0.5))
        for look in looks:
            look.clear()
            await asyncio.wait_for(look.wait(), 10)
        timers = resources.memory_timer, resources.disk_timer
        resources.stop()
        assert all(timer is not None and timer.cancelled() for timer in timers)

    asyncio.run(watch())


def test_the_banner_is_as_wide_as_its_text(system: System, caplog: pytest.LogCaptureFixture) -> None:
    system.free = 0
    system.resources(Limits()).check_disk()
    widths = {len(line) for line in caplog.text.split("\n") if re.match(r"\*+", line)}
    assert widths == {58}
