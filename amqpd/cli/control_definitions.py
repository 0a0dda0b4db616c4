"""The commands that take all definitions out of a broker, and put them into one."""

from __future__ import annotations

import json
from typing import Any

import click

from amqpd.cli.control_client import EX_DATAERR, Failure
from amqpd.cli.control_parameters import read_json
from amqpd.cli.control_tool import ControlCommand, Session, no_vhost, pass_session

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
    patient(session).api.post("definitions", body=read_document(file))


def read_document(file: str) -> Any:
    """The JSON in this file; - is standard input. Raises Failure."""
    try:
        with click.open_file(file, "rb") as source:
            data = source.read()
    except OSError as error:
        raise Failure(EX_DATAERR, f"{file}: {error.strerror or error}") from None
    return read_json(data.decode("utf-8", "replace"))


SIGNS = {"add": "+", "change": "~", "conflict": "!", "remove": "-", "keep": "="}


@click.command(cls=ControlCommand)
@click.argument("file")
@click.option("--plan", is_flag=True, help="Only say what is different.")
@click.option("--prune", is_flag=True, help="Remove what lasts and is not in FILE; queues only when they are idle.")
@pass_session
def apply(session: Session, file: str, plan: bool, prune: bool) -> None:
    """Make things as FILE has them: definitions in JSON, of the broker or of one virtual host (--vhost).

    Each line is one difference: + to add, ~ to change, - to remove, ! a queue or exchange that is there and cannot
    become what FILE says, = one that would be removed but is in use.
    """
    document = read_document(file)
    whole = not isinstance(document, dict) or document.get("rabbitmq_definition_format") != "single_virtual_host"
    path = ("apply-definitions",) if whole else ("apply-definitions", session.vhost)
    query = {name: "true" for name, wanted in (("plan", plan), ("prune", prune)) if wanted}
    missing = no_vhost(session.vhost)
    steps = patient(session).api.request("POST", path, query, body=document, missing=missing).value
    if session.output.json:
        click.echo(json.dumps(steps))
    else:
        for step in steps:
            identity = " ".join(f"{name}={json.dumps(value)}" for name, value in step["identity"].items())
            click.echo(f"{SIGNS[step['action']]} {step['category']} {identity} {step['what']}".rstrip())
        session.output.inform(f"{len(steps)} differences" + ("" if plan else ", applied"))
    if any(step["action"] == "conflict" for step in steps):
        raise Failure(EX_DATAERR, "what is marked ! stays as it is: delete it first, or change FILE")


COMMANDS = (apply, export_definitions, import_definitions)
