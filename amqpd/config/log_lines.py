"""Log lines as RabbitMQ writes them, so that what reads its logs reads ours.

    2026-01-01 12:00:00.123456+00:00 [info] <0.4711.0> accepting AMQP connection 127.0.0.1:52342 -> 127.0.0.1:5672

Where RabbitMQ has the Erlang process there is ours in the same shape. Every line of a longer message has the head.
"""

from __future__ import annotations

import logging
import os
from datetime import datetime

from amqpd.config.schema import LEVELS

__all__ = ["TextFormatter", "level_name", "process", "when"]

NAMES = {number: name for name, number in LEVELS.items()}


def when(record: logging.LogRecord) -> str:
    """The time of a record, local, with its offset."""
    return datetime.fromtimestamp(record.created).astimezone().isoformat(sep=" ", timespec="microseconds")


def level_name(record: logging.LogRecord) -> str:
    """RabbitMQ's word for a record's level."""
    return NAMES.get(record.levelno, record.levelname.lower())


def process() -> str:
    """This process in the shape of an Erlang pid."""
    return f"<0.{os.getpid()}.0>"


class TextFormatter(logging.Formatter):
    """`TIME [LEVEL] PID MESSAGE`."""

    def __init__(self) -> None:
        super().__init__()
        self.process = process()

    def format(self, record: logging.LogRecord) -> str:
        """The lines of a record, and of its exception."""
        head = f"{when(record)} [{level_name(record)}] {self.process} "
        return "\n".join(head + line for line in super().format(record).split("\n"))
