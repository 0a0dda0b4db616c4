"""What a SASL response says: user and password out of the bytes of connection.start-ok.

Each mechanism is one function from the response to Credentials; MECHANISMS is the table of those that can be offered.
Both take a single response, so connection.secure is never sent.

Source: RFC 4616 (PLAIN); RabbitMQ's rabbit_auth_mechanism_plain and _amqplain; AMQP 0-9-1 section 4.2.5.5 (tables).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, NoReturn

from amqpd.core.ports import LoginRefused
from amqpd.errors import AmqpError
from amqpd.wire.tables import Table, decode_table

__all__ = ["MECHANISMS", "Credentials", "read_amqplain", "read_plain"]


class Credentials(NamedTuple):
    """The password stays bytes: its hash is over what was sent, whatever its encoding."""

    user: str
    password: bytes


def read_plain(response: bytes) -> Credentials:
    """`[authzid] NUL user NUL password`. The authzid is not looked at: whoever logs in acts as themselves.

    Raises LoginRefused (malformed).
    """
    parts = response.split(b"\0")
    if len(parts) != 3:
        malformed("PLAIN", "it is not made of three parts")
    return Credentials(text("PLAIN", parts[1]), parts[2])


def read_amqplain(response: bytes) -> Credentials:
    """A field table without its length, with the long strings LOGIN and PASSWORD.

    Raises LoginRefused (malformed).
    """
    try:
        table, _ = decode_table(len(response).to_bytes(4, "big") + response)
    except (AmqpError, ValueError) as error:
        malformed("AMQPLAIN", str(error))
    return Credentials(text("AMQPLAIN", field(table, "LOGIN")), field(table, "PASSWORD"))


def field(table: Table, name: str) -> bytes:
    """The octets of this long string."""
    found = table.get(name)
    if found is None or found.kind != "S":
        malformed("AMQPLAIN", f"{name} is missing or no long string")
    value: str | bytes = found.value
    return value.encode("utf-8") if isinstance(value, str) else value


def text(mechanism: str, octets: bytes) -> str:
    try:
        return octets.decode("utf-8")
    except UnicodeDecodeError:
        malformed(mechanism, "the user name is not UTF-8")


def malformed(mechanism: str, why: str) -> NoReturn:
    # The response is not quoted: it holds the password, and the reason goes into the log.
    raise LoginRefused(f"malformed {mechanism} response: {why}", malformed=True) from None


MECHANISMS: dict[str, Callable[[bytes], Credentials]] = {"PLAIN": read_plain, "AMQPLAIN": read_amqplain}
"""SASL name -> how its response is read, in the order in which RabbitMQ offers them."""
