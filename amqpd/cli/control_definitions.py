"""The commands that take all definitions out of a broker, and put them into one."""

from __future__ import annotations

import json

import click

from amqpd.cli.control_client import EX_DATAERR, Failure
from amqpd.cli.control_parameters import read_json
from amqpd.cli.control_tool import ControlCommand, Session, pass_session

__all__ = ["COMMANDS"]

IMPORT_TIMEOUT = 300.0
"""Seconds that definitions may take to come or go, unless --timeout allows them more."""


def patient(session: Session) -> Session:
    session.timeout = max(session.timeout, IMPORT_TIMEOUT)
    return session


@click.command(cls=ControlCommand)
@click.argument("file")
@pass_session
def export_definitions(session: Session, file: str) -> None:
    """Write users, virtual hosts, queues and all else that is defined to FILE, in JSON; - is standard output."""
    if file != "-":
        session.output.inform(f'Exporting definitions in JSON to a file at "{file}" ...')
    document = json.dumps(patient(session).api.get("definitions"), indent=1) + "\n"
    try:
        with click.open_file(file, "w", encoding="ascii") as target:
            target.write(document)
    except OSError as error:
        raise Failure(EX_DATAERR, f"{file}: {error.strerror or error}") from None


@click.command(cls=ControlCommand)
@click.argument("file", default="-")
@pass_session
def import_definitions(session: Session, file: str) -> None:
    """Add what is defined in FILE, or in standard input, as JSON. Nothing is deleted."""
    from_where = "standard input" if file == "-" else f'a file at "{file}"'
    session.output.inform(f"Importing definitions in JSON from {from_where} ...")
    try:
        with click.open_file(file, "rb") as source:
            data = source.read()
    except OSError as error:
        raise Failure(EX_DATAERR, f"{file}: {error.strerror or error}") from None
    patient(session).api.post("definitions", body=read_json(data.decode("utf-8", "replace")))


COMMANDS = (export_definitions, import_definitions)
