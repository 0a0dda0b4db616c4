"""Delayed messages: which wait, and never mind this one. RabbitMQ's plugin has no commands for that."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import click

from amqpd.cli.control_client import EX_DATAERR, Failure
from amqpd.cli.control_tool import ControlCommand, Session, pass_session

__all__ = ["COMMANDS"]

COLUMNS = ("id", "deliver_at", "routing_key", "payload_bytes", "persistent", "message_id")

EPOCH = datetime.fromtimestamp(0, UTC)

exchange_argument = click.argument("exchange")


def path(session: Session, exchange: str) -> tuple[str, ...]:
    """Where the API has the delayed messages of an exchange."""
    return "exchanges", session.vhost, exchange or "amq.default", "delayed"


def row(item: dict[str, Any]) -> list[Any]:
    """A message's cells; the time is in UTC."""
    shown: object = item["deliver_at"]
    # A time beyond the year 9999 stays a number.
    with suppress(OverflowError, ValueError):
        shown = (EPOCH + timedelta(milliseconds=item["deliver_at"])).isoformat(timespec="milliseconds")
    known = {**item, "deliver_at": shown, "message_id": item["properties"].get("message_id")}
    return [known[name] for name in COLUMNS]


@click.command(cls=ControlCommand)
@exchange_argument
@click.option("--count", type=click.IntRange(1, 10_000), default=100, help="How many at most (100).")
@pass_session
def list_delayed(session: Session, exchange: str, count: int) -> None:
    """The messages that EXCHANGE delays and that are due next. The default exchange is amq.default."""
    session.output.inform(f"Listing delayed messages of exchange '{exchange}' in vhost '{session.vhost}' ...")
    missing = Failure(EX_DATAERR, f"there is no exchange '{exchange}' in vhost '{session.vhost}'")
    items = session.api.get(*path(session, exchange), missing=missing, count=str(count))
    session.output.rows(COLUMNS, [row(item) for item in items])


@click.command(cls=ControlCommand)
@exchange_argument
@click.argument("message")
@pass_session
def cancel_delayed(session: Session, exchange: str, message: str) -> None:
    """Have a message that EXCHANGE delays never be delivered. MESSAGE is its id in list_delayed."""
    session.output.inform(f"Cancelling delayed message {message} of exchange '{exchange}' ...")
    missing = Failure(EX_DATAERR, f"exchange '{exchange}' in vhost '{session.vhost}' delays no message {message}")
    session.api.delete(*path(session, exchange), message, missing=missing)


COMMANDS = (cancel_delayed, list_delayed)
