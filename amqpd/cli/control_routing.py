"""The commands that show where messages go. RabbitMQ's rabbitmqctl has no such."""

from __future__ import annotations

import json
from typing import Any

import click

from amqpd.cli.control_client import EX_DATAERR, Failure
from amqpd.cli.control_parameters import read_json
from amqpd.cli.control_tool import ControlCommand, Session, pass_session

__all__ = ["COMMANDS"]

DEFAULT_EXCHANGE = "amq.default"


def not_there(session: Session, exchange: str) -> Failure:
    return Failure(EX_DATAERR, f"There is no exchange '{exchange}' in vhost '{session.vhost}', or no such vhost")


@click.command(cls=ControlCommand)
@click.argument("exchange")
@click.argument("routing_key", default="")
@click.option("--headers", default="{}", metavar="JSON", help="The message's headers.")
@click.option("--user", metavar="NAME", help="Who publishes; without it permissions are not looked at.")
@pass_session
def explain_route(session: Session, exchange: str, routing_key: str, headers: str, user: str | None) -> None:
    """Say what a message would meet: permissions, exchanges, bindings, alternate exchanges, queues.

    Nothing is published. "" or amq.default is the default exchange.
    """
    body = {"routing_key": routing_key, "properties": {"headers": read_json(headers)}, "user": user}
    path = ("exchanges", session.vhost, exchange or DEFAULT_EXCHANGE, "explain-route")
    found = session.api.post(*path, body=body, missing=not_there(session, exchange)).value
    if session.output.json:
        click.echo(json.dumps(found))
        return
    if found["refused"] is not None:
        click.echo(f"refused: {found['refused']}")
    for hop in found["hops"]:
        explain_hop(hop)
    for queue in found["queues"]:
        fate = f" (full: {queue['overflow']})" if queue["full"] else ""
        click.echo(f"queue '{queue['name']}', {queue['type']}, {queue['consumers']} consumers{fate}")
    click.echo("routed" if found["routed"] else "not routed")


def explain_hop(hop: dict[str, Any]) -> None:
    click.echo(f"exchange '{hop['exchange']}', {hop['type']}, by {hop['reached_by']}")
    if "error" in hop:
        click.echo(f"  error: {hop['error']}")
    for binding in hop["bindings"]:
        arguments = f" {json.dumps(binding['arguments'])}" if binding["arguments"] else ""
        key = json.dumps(binding["routing_key"])
        click.echo(f"  binding {key}{arguments} to {binding['destination_type']} '{binding['destination']}'")
    alternate = hop.get("alternate_exchange")
    if alternate is not None:
        click.echo(f"  alternate exchange '{alternate['name']}' {'is used' if alternate['used'] else 'is not used'}")


@click.command(cls=ControlCommand)
@click.argument("exchange")
@click.argument("routing_key", default="#")
@click.option("--count", default=10, show_default=True, metavar="N", help="Messages to show.")
@click.option("--seconds", default=60, show_default=True, metavar="N", help="How long to wait for them.")
@pass_session
def tail(session: Session, exchange: str, routing_key: str, count: int, seconds: int) -> None:
    """Show messages that pass an exchange, one JSON object per line, by a binding with ROUTING_KEY.

    Those that come faster than they are shown are left out; nobody else is slowed down.
    """
    session.timeout = max(session.timeout, float(seconds) + 10)
    query = {"routing_key": routing_key, "count": str(count), "seconds": str(seconds)}
    path = ("exchanges", session.vhost, exchange, "tail")
    for line in session.api.lines(*path, missing=not_there(session, exchange), **query):
        click.echo(line)


COMMANDS = (explain_route, tail)
