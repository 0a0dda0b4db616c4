"""Log output as RabbitMQ writes it: `2026-01-01 12:00:00.123456+00:00 [info] <0.123.0> message`, or one JSON a line."""

from __future__ import annotations

import logging
import os
import sys
from datetime import UTC, datetime

from amqpd.config.settings import Settings

__all__ = ["configure"]

ROOT = "amqpd"
CATEGORIES = ("connection", "channel")
LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "notice": logging.INFO + 5,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "critical": logging.CRITICAL,
    "none": logging.CRITICAL + 10,
}


def process_name() -> str:
    """What stands where RabbitMQ writes an Erlang process."""
    return f"<0.{os.getpid()}.0>"


def timestamp(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(" ", "microseconds")


class TextFormatter(logging.Formatter):
    """RabbitMQ's default format; each line of a message gets the prefix, as RabbitMQ does it."""

    def format(self, record: logging.LogRecord) -> str:
        prefix = f"{timestamp(record)} [{record.levelname.lower()}] {process_name()} "
        text = record.getMessage()
        if record.exc_info:
            text = f"{text}\n{self.formatException(record.exc_info)}"
        return "\n".join(prefix + line for line in text.splitlines())


def formatter(kind: str) -> logging.Formatter:
    if kind != "json":
        return TextFormatter()
    # Imported here: it takes longer than all of the rest, and most nodes log text.
    from pythonjsonlogger.json import JsonFormatter

    class RabbitJson(JsonFormatter):
        def process_log_record(self, log_data: dict[str, object]) -> dict[str, object]:
            log_data["level"] = str(log_data["level"]).lower()
            log_data["pid"] = process_name()
            return log_data

        def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
            return timestamp(record)

    return RabbitJson(
        "{asctime}{levelname}{message}{name}",
        style="{",
        rename_fields={"asctime": "time", "levelname": "level", "message": "msg", "name": "domain"},
    )


def configure(settings: Settings) -> None:
    """Log as the settings say; called again after a reload. OSError when the log file cannot be opened."""
    handlers: list[logging.Handler] = []
    if settings.flag("log.console"):
        handlers.append(handler(logging.StreamHandler(sys.stdout), settings, "console"))
    path = settings.text("log.file")
    if path != "false":
        handlers.append(handler(logging.FileHandler(path, encoding="utf-8"), settings, "file"))
    root = logging.getLogger(ROOT)
    for old in root.handlers[:]:
        root.removeHandler(old)
        old.close()
    for new in handlers:
        root.addHandler(new)
    root.propagate = False
    root.setLevel(min((new.level for new in handlers), default=LEVELS["none"]))
    for category in CATEGORIES:
        logging.getLogger(f"{ROOT}.{category}").setLevel(LEVELS[settings.text(f"log.{category}.level")])


def handler(made: logging.Handler, settings: Settings, output: str) -> logging.Handler:
    made.setLevel(LEVELS[settings.text(f"log.{output}.level")])
    made.setFormatter(formatter(settings.text(f"log.{output}.formatter")))
    return made
