"""Class connection, once it is open. The way there is in `protocol/handshake`."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from amqpd.core.ports import LoginRefused
from amqpd.errors import NotAllowed
from amqpd.protocol.states import State
from amqpd.wire import methods
from amqpd.wire.methods import commands

if TYPE_CHECKING:
    from amqpd.protocol.session import Session

__all__ = ["connection_close", "connection_close_ok", "connection_update_secret"]

log = logging.getLogger("amqpd.connection")


def connection_close(session: Session, method: Any) -> None:
    """The client is done; what it held goes back before it is told so."""
    if session.state is State.RUNNING:
        log.info("closing AMQP connection %s", session.identity)
    session.leave()
    session.send_method(0, methods.build(commands.Connection.CloseOk))
    session.finish()


def connection_close_ok(session: Session, method: Any) -> None:
    """The client has understood our close. One that we did not ask for ends the connection all the same."""
    session.finish()


def connection_update_secret(session: Session, method: Any) -> None:
    """New credentials for the user who is logged in. Raises NotAllowed when they are refused."""
    response = methods.octets(f"\0{session.user}\0{method.new_secret}")
    try:
        identity = session.authenticator.login("PLAIN", response, session.peer.loopback)
    except (LoginRefused, KeyError):
        raise NotAllowed("New secret was refused by one of the backends") from None
    session.tags = identity.tags
    log.info("connection %s: user '%s' updated secret, reason: %s", session.name, session.user, method.reason)
    session.send_method(0, methods.build(commands.Connection.UpdateSecretOk))
