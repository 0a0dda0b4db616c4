"""`amqpd`: start a broker, or check its configuration."""

from __future__ import annotations

import os
import sys

import click

from amqpd import __version__
from amqpd.config.errors import ConfigError
from amqpd.config.settings import Settings, load

__all__ = ["main"]

EX_CONFIG = 78
"""The exit code of sysexits.h for a configuration error."""


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--config", "config_file", metavar="FILE", help="Configuration in the syntax of rabbitmq.conf.")
@click.option("--data-dir", metavar="DIR", help="Where durable things are kept.")
@click.option("--check-config", is_flag=True, help="Print the settings in force and where each came from, and exit.")
@click.version_option(__version__, prog_name="amqpd")
def main(config_file: str | None, data_dir: str | None, check_config: bool) -> None:
    """An AMQP 0-9-1 broker, a drop-in for RabbitMQ."""
    overrides = {"data_dir": data_dir} if data_dir is not None else {}

    def read() -> Settings:
        return load(config_file, overrides, os.environ)

    try:
        settings = read()
    except ConfigError as error:
        click.echo(f"amqpd: the configuration cannot be used:\n{error}", err=True)
        sys.exit(EX_CONFIG)
    if check_config:
        print_settings(settings)
        return
    # Imported here: --check-config and --help need none of it.
    from amqpd.node import run

    sys.exit(run(settings, read))


def print_settings(settings: Settings) -> None:
    for warning in settings.warnings:
        click.echo(f"warning: {warning}", err=True)
    rows = settings.effective()
    width = max(len(f"{key} = {text}") for key, text, _ in rows)
    for key, text, origin in rows:
        line = f"{key} = {text}"
        click.echo(f"{line:<{width}}  # {origin}")


if __name__ == "__main__":
    main()
