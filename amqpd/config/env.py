"""Settings from the environment: RabbitMQ's variables, and one for every key of our own.

    AMQPD_HEARTBEAT=30                     heartbeat = 30
    AMQPD_LISTENERS__TCP__DEFAULT=5673     listeners.tcp.default = 5673

A dot is written `__`, letters in upper case. RabbitMQ's variables count less than ours, and empty ones not at all, as
there. RABBITMQ_* that we do not know are not refused: Kubernetes puts one there for every service of that name.
Source: rabbitmq.com/docs/configure, rabbit_env; the docker image's entry point.
"""

from __future__ import annotations

from collections.abc import Mapping

from amqpd.config.known import unsupported_variable
from amqpd.config.reader import Entry, Rank

__all__ = ["read"]

PREFIX = "AMQPD_"
NOT_KEYS = ("AMQPD_CONFIG_FILE",)

PLAIN = {
    "RABBITMQ_DEFAULT_USER": "default_user",
    "RABBITMQ_DEFAULT_PASS": "default_pass",
    "RABBITMQ_DEFAULT_VHOST": "default_vhost",
    "RABBITMQ_LOAD_DEFINITIONS": "load_definitions",
    "RABBITMQ_LOG_BASE": "log.dir",
}
"""Variables that are a key by another name."""

DATA_DIRECTORIES = ("RABBITMQ_MNESIA_DIR", "RABBITMQ_MNESIA_BASE", "RABBITMQ_DATA_DIR")
"""Where RabbitMQ keeps its data. Ours go beneath: what it left there is not for us to mix with."""

DEFAULT_PORT = "5672"


def read(environ: Mapping[str, str], warnings: list[str]) -> list[Entry]:
    """What the environment sets, in order: what counts more comes later."""
    return rabbitmq(environ, warnings) + own(environ)


def own(environ: Mapping[str, str]) -> list[Entry]:
    """The AMQPD_* variables."""
    return [
        entry(name, name.removeprefix(PREFIX).replace("__", ".").lower(), text)
        for name, text in sorted(environ.items())
        if name.startswith(PREFIX) and name not in NOT_KEYS
    ]


def entry(variable: str, key: str, text: str) -> Entry:
    """What this variable sets."""
    return Entry(key, text, f"environment {variable}", Rank.ENVIRONMENT)


def rabbitmq(environ: Mapping[str, str], warnings: list[str]) -> list[Entry]:
    """The RABBITMQ_* variables that we understand."""
    present = {name: text for name, text in environ.items() if name.startswith("RABBITMQ_") and text}
    entries = [entry(name, key, present[name]) for name, key in PLAIN.items() if name in present]
    host, port = present.get("RABBITMQ_NODE_IP_ADDRESS"), present.get("RABBITMQ_NODE_PORT")
    if host or port:
        name = "RABBITMQ_NODE_PORT" if port else "RABBITMQ_NODE_IP_ADDRESS"
        place = f"{host}:{port or DEFAULT_PORT}" if host else f"{port}"
        entries.append(entry(name, "listeners.tcp.default", place))
    for name in DATA_DIRECTORIES:
        if name in present:
            entries.append(entry(name, "data_dir", f"{present[name].rstrip('/')}/amqpd"))
            break
    entries += logs(present.get("RABBITMQ_LOGS", ""), warnings)
    warnings += [
        f"environment {name}: is a RabbitMQ variable that amqpd does not support yet; it is ignored"
        for name in sorted(present)
        if unsupported_variable(name)
    ]
    return entries


def logs(place: str, warnings: list[str]) -> list[Entry]:
    """RABBITMQ_LOGS: `-` is standard output, anything else a file; other outputs begin with - or have a colon."""
    if not place:
        return []
    if place == "-":
        return [entry("RABBITMQ_LOGS", "log.console", "true"), entry("RABBITMQ_LOGS", "log.file", "false")]
    if place.startswith("-") or ":" in place:
        warnings.append(f"environment RABBITMQ_LOGS: amqpd does not support the output '{place}' yet; it is ignored")
        return []
    return [entry("RABBITMQ_LOGS", "log.file", place)]
