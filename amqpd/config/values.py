"""The types of settings: from the text in a file to a value, or a ValueError that says what is expected."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeAlias

__all__ = ["Listener", "Parse", "Value", "choice", "flag", "integer", "listener", "optional_integer", "size", "text"]

Listener: TypeAlias = tuple[str | None, int]
"""Address (None: all of this machine) and port."""

Value: TypeAlias = str | int | bool | Listener | None
Parse: TypeAlias = Callable[[str], Value]

FLAGS = {"true": True, "on": True, "yes": True, "false": False, "off": False, "no": False}

UNITS = {
    "": 1,
    "k": 1024,
    "kb": 1000,
    "kib": 1024,
    "ki": 1024,
    "m": 1024**2,
    "mb": 1000**2,
    "mib": 1024**2,
    "mi": 1024**2,
    "g": 1024**3,
    "gb": 1000**3,
    "gib": 1024**3,
    "gi": 1024**3,
}
"""RabbitMQ's units of memory and disk sizes."""


def text(value: str) -> str:
    """Any text."""
    return value


def flag(value: str) -> bool:
    """true or false."""
    try:
        return FLAGS[value.lower()]
    except KeyError:
        raise ValueError("expected true or false") from None


def integer(least: int, most: int) -> Parse:
    """A whole number within bounds."""

    def parse(value: str) -> int:
        if not re.fullmatch(r"-?\d+", value):
            raise ValueError(f"expected a whole number from {least} to {most}")
        number = int(value)
        if not least <= number <= most:
            raise ValueError(f"expected a whole number from {least} to {most}")
        return number

    return parse


def optional_integer(least: int, most: int) -> Parse:
    """A whole number within bounds, or `infinity` for no limit."""
    bounded = integer(least, most)

    def parse(value: str) -> Value:
        return None if value in ("infinity", "undefined") else bounded(value)

    return parse


def size(least: int, most: int) -> Parse:
    """Octets, with or without a unit: 16777216, 16MiB, 1GB."""

    def parse(value: str) -> int:
        match = re.fullmatch(r"(\d+)\s*([A-Za-z]*)", value)
        if match is None or match[2].lower() not in UNITS:
            raise ValueError("expected a size in octets, with or without a unit such as MB or MiB")
        octets = int(match[1]) * UNITS[match[2].lower()]
        if not least <= octets <= most:
            raise ValueError(f"expected a size from {least} to {most} octets")
        return octets

    return parse


def choice(*choices: str) -> Parse:
    """One of a few words."""

    def parse(value: str) -> str:
        if value not in choices:
            raise ValueError(f"expected one of {', '.join(choices)}")
        return value

    return parse


def listener(value: str) -> Listener:
    """A port, or an address and a port: 5672, 127.0.0.1:5672, [::1]:5672."""
    host, _, port = value.rpartition(":")
    if not port.isdigit() or not 0 <= int(port) <= 65535:
        raise ValueError("expected a port, or an address and a port such as 127.0.0.1:5672 or [::1]:5672")
    return host.strip("[]") or None, int(port)
