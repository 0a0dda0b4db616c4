"""What amqpctl prints: rabbitmqctl's tables, with tabs between the cells, or JSON.

    Timeout: 60.0 seconds ...               banner, not with --quiet
    Listing queues for vhost / ...
    name    messages                        header, not with --silent or --no-table-headers
    orders  12

Scripts cut off the first lines and split the others at the tabs; so a tab or line break inside a name is written as
`\\011`, `\\012`. Tables inside a cell look as Erlang prints them: [{"x-max-length",10}].
Source: rabbitmq-cli's formatters (table, json, formatter_helpers).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import click

__all__ = ["Output"]


@dataclass(slots=True)
class Output:
    """How to print: `json` or a table, and how much besides."""

    json: bool = False
    quiet: bool = False
    silent: bool = False
    headers: bool = True

    def inform(self, *lines: str) -> None:
        """Say what is being done; for people only."""
        if not (self.quiet or self.silent or self.json):
            for line in lines:
                click.echo(line)

    def result(self, line: str) -> None:
        """Say what came of it."""
        if self.json:
            click.echo(json.dumps({"status": "ok", "message": line}))
        elif not self.silent:
            click.echo(line)

    def rows(self, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """A list, whose cells are JSON values; None for what has no value."""
        if self.json:
            # rabbitmqctl has "" where there is no value.
            items = [
                {name: "" if cell is None else cell for name, cell in zip(columns, row, strict=True)} for row in rows
            ]
            click.echo(json.dumps(items))
            return
        lines = ["\t".join(cell_text(cell) for cell in row) for row in rows]
        # rabbitmqctl takes the header from the first row.
        if lines and self.headers and not self.silent:
            lines.insert(0, "\t".join(columns))
        if lines:
            click.echo("\n".join(lines))


def cell_text(value: Any) -> str:
    """One value in a table."""
    if value is None:
        return ""
    if isinstance(value, dict):
        return term(value)
    if isinstance(value, list):
        return "[" + ", ".join(cell_text(item) for item in value) + "]"
    return escaped(value) if isinstance(value, str) else term(value)


def term(value: Any) -> str:
    """A value as Erlang writes it inside of a table."""
    if isinstance(value, dict):
        return "[" + ",".join(f"{{{quoted(key)},{term(item)}}}" for key, item in value.items()) + "]"
    if isinstance(value, list):
        return "[" + ",".join(term(item) for item in value) + "]"
    if isinstance(value, str):
        return quoted(value)
    if value is None:
        return "undefined"
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def escaped(text: str) -> str:
    """The text without anything that ends a cell, a line, or moves a terminal's cursor."""
    if text.isprintable():
        return text
    return "".join(f"\\{ord(char):03o}" if ord(char) < 32 or 127 <= ord(char) < 160 else char for char in text)
