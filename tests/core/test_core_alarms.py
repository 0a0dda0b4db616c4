"""The alarms of the node: who is told when, and in which words."""

from __future__ import annotations

import pytest

from amqpd.core.alarms import DISK, MEMORY, Alarms


class Connection:
    """Notes whether an alarm was on each time that it was told."""

    def __init__(self) -> None:
        self.alarms: Alarms
        self.told: list[bool] = []

    def alarms_changed(self) -> None:
        self.told.append(self.alarms.on)


@pytest.fixture
def connection() -> Connection:
    return Connection()


@pytest.fixture
def alarms(connection: Connection) -> Alarms:
    connection.alarms = Alarms([connection])
    return connection.alarms


def test_the_first_alarm_and_the_end_of_the_last_are_told(alarms: Alarms, connection: Connection) -> None:
    alarms.raise_(MEMORY, "2 MB used, limit 1 MB")
    alarms.raise_(DISK, "1 MB free, limit 2 MB")
    assert connection.told == [True]
    alarms.clear(MEMORY)
    assert connection.told == [True]
    alarms.clear(DISK)
    assert connection.told == [True, False]
    alarms.clear(DISK)
    assert connection.told == [True, False]


def test_the_reason_begins_with_rabbitmqs_words_and_has_the_latest_figures(alarms: Alarms) -> None:
    alarms.raise_(DISK, "1 MB free, limit 2 MB")
    assert alarms.reason == "low on disk: 1 MB free, limit 2 MB"
    alarms.raise_(MEMORY, "2 MB used, limit 1 MB")
    assert alarms.reason == "low on memory & disk: 2 MB used, limit 1 MB; 1 MB free, limit 2 MB"
    alarms.clear(DISK)
    alarms.raise_(MEMORY, "3 MB used, limit 1 MB")
    assert alarms.reason == "low on memory: 3 MB used, limit 1 MB"
