"""The commands that set how much memory and disk the broker may use before publishers have to wait."""

from __future__ import annotations

import click

from amqpd.cli.control_client import EX_DATAERR, Failure
from amqpd.cli.control_tool import ControlCommand, Session, pass_session

__all__ = ["COMMANDS"]

OCTETS_MAX = (1 << 63) - 1


def limit(words: tuple[str, ...], keyword: str) -> tuple[bool, str]:
    """Is the limit the one that goes with the keyword, and what is it? Raises UsageError for too few or many words."""
    if not words or words == (keyword,):
        raise click.UsageError("not enough arguments")
    if len(words) > (2 if words[0] == keyword else 1):
        raise click.UsageError("too many arguments")
    return words[0] == keyword, words[-1]


def octets(text: str) -> int:
    """A number of octets, with a unit or without. Raises Failure for what is none."""
    # Imported here: most runs need nothing of the configuration.
    from amqpd.config.kinds import Size

    try:
        return Size(0, OCTETS_MAX, decimal=True).read(text)
    except ValueError as error:
        raise Failure(EX_DATAERR, f"'{text}' {error}") from None


def fraction(text: str) -> float:
    """A fraction of something. Raises Failure for what is none."""
    try:
        return float(text)
    except ValueError:
        raise Failure(EX_DATAERR, f"'{text}' is not a number, such as 0.6") from None


@click.command(cls=ControlCommand)
@click.argument("words", nargs=-1, metavar="FRACTION | absolute OCTETS")
@pass_session
def set_vm_memory_high_watermark(session: Session, words: tuple[str, ...]) -> None:
    """How much memory may be in use before publishers have to wait: a part of what there is, or `absolute 2GB`.

    It holds until the broker is started again; 0 makes all publishers wait.
    """
    absolute, text = limit(words, "absolute")
    unit = " bytes" if absolute else ""
    session.output.inform(f"Setting memory threshold on {session.node_name} to {text}{unit} ...")
    body = {"absolute": octets(text)} if absolute else {"relative": fraction(text)}
    session.api.put("node", "memory-high-watermark", body=body)


@click.command(cls=ControlCommand)
@click.argument("words", nargs=-1, metavar="OCTETS | mem_relative FRACTION")
@pass_session
def set_disk_free_limit(session: Session, words: tuple[str, ...]) -> None:
    """How little of the disk may be free before publishers have to wait: `1GB`, or a multiple of the memory.

    It holds until the broker is started again.
    """
    relative, text = limit(words, "mem_relative")
    unit = "times the total RAM" if relative else "bytes"
    session.output.inform(f"Setting disk free limit on {session.node_name} to {text} {unit} ...")
    body = {"relative": fraction(text)} if relative else {"absolute": octets(text)}
    session.api.put("node", "disk-free-limit", body=body)


COMMANDS = (set_disk_free_limit, set_vm_memory_high_watermark)
