"""Log records as one JSON object a line, with RabbitMQ's field names."""

from __future__ import annotations

import logging
from typing import Any

from pythonjsonlogger import json

from amqpd.config.log_lines import level_name, process, when

__all__ = ["JsonFormatter"]


class JsonFormatter(json.JsonFormatter):
    """`{"time", "level", "msg", "pid", "domain"}`; the domain is the logger's name."""

    def __init__(self) -> None:
        super().__init__("%(message)s", rename_fields={"message": "msg"}, json_ensure_ascii=False)
        self.process = process()

    def add_fields(self, log_data: dict[str, Any], record: logging.LogRecord, message_dict: dict[str, Any]) -> None:
        """Fill in what a record has."""
        log_data["time"] = when(record)
        log_data["level"] = level_name(record)
        super().add_fields(log_data, record, message_dict)
        log_data["pid"] = self.process
        log_data["domain"] = record.name
