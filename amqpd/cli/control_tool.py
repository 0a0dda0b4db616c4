"""amqpctl as a click program: options that may stand anywhere, rabbitmqctl's exit codes, never a traceback."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import click

from amqpd.cli.control_client import EX_CONFIG, EX_DATAERR, EX_NOUSER, EX_USAGE, Api, Failure
from amqpd.cli.control_output import Output

__all__ = ["ControlCommand", "ControlGroup", "Session", "no_user", "no_vhost", "pass_session"]

DEFAULT_TIMEOUT = 60.0
"""Seconds that a command takes at most."""


@dataclass(slots=True)
class Session:
    """One run of amqpctl: what its options say. They stand before or after the command's name."""

    data_dir: str | None = None
    vhost: str = "/"
    node: str | None = None
    timeout: float = DEFAULT_TIMEOUT
    output: Output = field(default_factory=Output)

    @property
    def api(self) -> Api:
        """The broker's API. Raises Failure when the configuration does not say where its data is."""
        return Api(self.find_data_dir(), self.timeout)

    @property
    def node_name(self) -> str:
        """How to speak of the node before it has said its name."""
        return self.node or f"amqpd in {self.find_data_dir()}"

    def find_data_dir(self) -> Path:
        """The data directory: as given, or where amqpd itself would look for it."""
        if self.data_dir is not None:
            return Path(self.data_dir)
        if os.environ.get("AMQPD_DATA_DIR"):
            return Path(os.environ["AMQPD_DATA_DIR"])
        # Imported here: most runs say where, and reading files takes a while.
        from amqpd.config.errors import ConfigError
        from amqpd.config.settings import load

        try:
            return load(None, {}, os.environ).data_dir
        except ConfigError as error:
            text = f"amqpd's configuration does not say where its data is; use --data-dir:\n{error}"
            raise Failure(EX_CONFIG, text) from None


pass_session = click.make_pass_decorator(Session, ensure=True)


def no_vhost(name: str) -> Failure:
    """Said of a virtual host that does not exist."""
    return Failure(EX_DATAERR, f"Virtual host '{name}' does not exist")


def no_user(name: str) -> Failure:
    """Said of a user that does not exist."""
    return Failure(EX_NOUSER, f'User "{name}" does not exist')


def remember(change: Callable[[Session, Any], None]) -> Callable[[click.Context, click.Parameter, Any], None]:
    """The callback of an option that changes the session when it is given."""

    def callback(context: click.Context, parameter: click.Parameter, value: Any) -> None:
        session = context.ensure_object(Session)
        if value is not None and value is not False:
            change(session, value)

    return callback


def set_data_dir(session: Session, value: str) -> None:
    session.data_dir = value


def set_vhost(session: Session, value: str) -> None:
    session.vhost = value


def set_node(session: Session, value: str) -> None:
    session.node = value


def set_timeout(session: Session, value: float) -> None:
    session.timeout = value


def set_formatter(session: Session, value: str) -> None:
    session.output.json = value == "json"


def set_quiet(session: Session, value: bool) -> None:
    session.output.quiet = value


def set_silent(session: Session, value: bool) -> None:
    session.output.silent = value


def set_no_headers(session: Session, value: bool) -> None:
    session.output.headers = not value


def options() -> list[click.Parameter]:
    """The options of amqpctl and of each of its commands."""

    def option(*names: str, change: Callable[[Session, Any], None], **settings: Any) -> click.Option:
        return click.Option(names, expose_value=False, callback=remember(change), **settings)

    timeout = click.FloatRange(min=0, min_open=True)
    formatter = click.Choice(["table", "json"])
    return [
        option("--data-dir", change=set_data_dir, metavar="DIR", help="The broker's data directory."),
        option("-p", "--vhost", change=set_vhost, metavar="VHOST", help="The virtual host; / by default."),
        option("-n", "--node", change=set_node, metavar="NODE", help="How to call the node; --data-dir finds it."),
        option("-t", "--timeout", change=set_timeout, type=timeout, metavar="SECONDS", help="60 by default."),
        option("--formatter", change=set_formatter, type=formatter, help="What lists look like; table by default."),
        option("-q", "--quiet", change=set_quiet, is_flag=True, help="Say nothing but what was asked for."),
        option("-s", "--silent", change=set_silent, is_flag=True, help="As --quiet, and no table headers."),
        option("--no-table-headers", change=set_no_headers, is_flag=True, help="No table headers."),
    ]


class ControlCommand(click.Command):
    """One command, which takes the common options too."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        # A function's name is the command's, as rabbitmqctl has them; click would write it with hyphens.
        self.name = (self.name or "").replace("-", "_")
        self.params += options()


class ControlGroup(click.Group):
    """All commands."""

    command_class = ControlCommand

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.params += options()

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of this name, in which a hyphen is as good as the underscore."""
        return super().get_command(ctx, cmd_name.replace("-", "_"))

    def main(self, *args: Any, **settings: Any) -> NoReturn:
        """Run a command, and end the process with its exit code."""
        settings["standalone_mode"] = False
        try:
            super().main(*args, **settings)
            code = 0
        except Failure as failure:
            click.echo(f"Error: {failure}", err=True)
            code = failure.code
        except click.UsageError as error:
            error.show()
            code = EX_USAGE
        except (click.Abort, KeyboardInterrupt):
            code = 130
        sys.exit(code)
