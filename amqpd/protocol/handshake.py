"""From the protocol header to connection.open: who is there, what is agreed, which virtual host.

    client                          server                        state after
    AMQP 0 0 9 1              ->                                   STARTING
                              <-    start (mechanisms, properties)
    start-ok (login)          ->                                   TUNING, or DOOMED
                              <-    tune (what we offer)
    tune-ok (what it takes)   ->                                   OPENING
    open (virtual host)       ->                                   RUNNING
                              <-    open-ok

Until the login is through, an error gets no answer but a closed socket after a while, as in RabbitMQ; a client that
says it understands authentication_failure_close is told. Source: AMQP 0-9-1 section 2.2.4; rabbit_reader.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from amqpd.core import operations
from amqpd.core.operations import Actor
from amqpd.core.ports import LoginRefused
from amqpd.errors import AccessRefused, AmqpError, CommandInvalid, NotAllowed, SyntaxError_
from amqpd.protocol import describe
from amqpd.protocol.states import State
from amqpd.wire import framing, methods
from amqpd.wire.methods import commands

if TYPE_CHECKING:
    from amqpd.protocol.session import Session

__all__ = ["failed", "open_", "protocol_header", "secure_ok", "start_ok", "tune_ok"]

log = logging.getLogger("amqpd.connection")

DOOM_DELAY = 3_000
"""Milliseconds that a refused client is kept waiting before its socket is closed."""

AMQP_0_9_HEADERS = (framing.PROTOCOL_HEADER, b"AMQP\x01\x01\x00\x09")
TUNE_OK = (10, 31)


def protocol_header(session: Session, header: bytes) -> None:
    """The first 8 octets: AMQP 0-9-1, or an answer that says so and the end."""
    if header not in AMQP_0_9_HEADERS:
        if header.startswith(b"GET "):
            log.error(
                "%s: HTTP GET request detected on AMQP port. Ensure the client is connecting to the right port",
                session.name,
            )
        elif header.startswith(b"\x16\x03"):
            log.error(
                "%s: TLS client detected on non-TLS AMQP port. Ensure the client is connecting to the right port",
                session.name,
            )
        else:
            log.error("closing AMQP connection %s: bad header %s", session.name, framing.erlang_binary(header))
        session.outbox.send(framing.PROTOCOL_HEADER)
        session.finish()
        return
    session.state = State.STARTING
    start = methods.build(
        commands.Connection.Start,
        version_major=0,
        version_minor=9,
        server_properties=session.settings.server_properties,
        mechanisms=" ".join(session.authenticator.mechanisms()),
        locales="en_US",
    )
    session.send_method(0, start)


def start_ok(session: Session, method: Any) -> None:
    """connection.start-ok: what the client is, and its login."""
    session.client_properties = method.client_properties
    capabilities = method.client_properties.get("capabilities")
    if capabilities is not None and capabilities.kind == "F":
        session.capabilities = frozenset(name for name, field in capabilities.value.items() if field.value is True)
    session.mechanism = method.mechanism
    if method.mechanism not in session.authenticator.mechanisms():
        raise CommandInvalid(f"unknown authentication mechanism '{method.mechanism}'")
    login(session, method.response)


def secure_ok(session: Session, method: Any) -> None:
    """connection.secure-ok: the answer to a challenge."""
    login(session, method.response)


def login(session: Session, response: str) -> None:
    try:
        identity = session.authenticator.login(session.mechanism, methods.octets(response), session.peer.loopback)
    except LoginRefused as refused:
        if refused.malformed:
            raise SyntaxError_(str(refused)) from None
        session.broker.emit("user.authentication.failure", describe.login(session, refused.user))
        refuse_login(session, refused)
        return
    session.user = identity.user
    session.tags = identity.tags
    session.broker.emit("user.authentication.success", describe.login(session, identity.user))
    settings = session.settings
    session.frame_max = settings.frame_max
    session.state = State.TUNING
    tune = methods.build(
        commands.Connection.Tune,
        channel_max=settings.channel_max,
        frame_max=settings.frame_max,
        heartbeat=settings.heartbeat,
    )
    session.send_method(0, tune)


def refuse_login(session: Session, refused: LoginRefused) -> None:
    log.error(
        "Error on AMQP connection %s, state: %s:\n%s login refused: %s",
        session.name,
        session.state.value,
        session.mechanism,
        refused,
    )
    if session.capable("authentication_failure_close"):
        error = AccessRefused(
            f"Login was refused using authentication mechanism {session.mechanism}. For details see the broker logfile."
        )
        close = methods.build(
            commands.Connection.Close, reply_code=error.code, reply_text=error.reply_text, class_id=0, method_id=0
        )
        session.send_method(0, close)
        session.state = State.CLOSING
        session.deadline = session.now + DOOM_DELAY
    else:
        doom(session)


def doom(session: Session) -> None:
    """Say nothing, and close the socket after a while."""
    session.state = State.DOOMED
    session.deaf = True
    session.deadline = session.now + DOOM_DELAY


def tune_ok(session: Session, method: Any) -> None:
    """connection.tune-ok: what the client takes of what was offered."""
    settings = session.settings
    session.frame_max = negotiated("frame_max", method.frame_max, settings.frame_min, settings.frame_max)
    session.channel_max = negotiated("channel_max", method.channel_max, 0, settings.channel_max)
    session.lane_max = min(session.frame_max or 1 << 31, settings.max_message_size)
    session.heartbeat.start(method.heartbeat, session.now)
    session.state = State.OPENING


def negotiated(name: str, asked: int, least: int, most: int) -> int:
    """What was agreed on. 0 is no limit, on either side. Raises NotAllowed."""
    if asked and asked < least:
        raise NotAllowed(f"negotiated {name} = {asked} is lower than the minimum allowed value ({least})", TUNE_OK)
    if most and (asked == 0 or asked > most):
        shown = str(asked) if asked else "0 (no limit)"
        raise NotAllowed(f"negotiated {name} = {shown} is higher than the maximum allowed value ({most})", TUNE_OK)
    return asked


def open_(session: Session, method: Any) -> None:
    """connection.open: the virtual host, if the user may enter it."""
    broker, name, user = session.broker, method.virtual_host, session.user
    limit = session.settings.max_connections
    if limit is not None and len(broker.connections) >= limit:
        raise NotAllowed(f"connection refused: node connection limit ({limit}) is reached")
    vhost = broker.vhosts.get(name)
    if vhost is None:
        raise NotAllowed(f"vhost {name} not found")
    operations.check_connection_limits(broker, vhost, user)
    if not broker.access.may_enter(user, name):
        raise NotAllowed(f"access to vhost '{name}' refused for user '{user}'")
    session.vhost = vhost
    session.plans = broker.plans(vhost, user)
    session.actor = Actor(user, broker.access, session)
    session.state = State.RUNNING
    session.running = True
    session.deadline = None
    broker.connections[session] = None
    session.alarms_changed()
    broker.emit("connection.created", describe.created(session))
    label = session.connection_label
    log.info(
        "connection %s%s: user '%s' authenticated and granted access to vhost '%s'",
        session.name,
        f" - {label}" if label else "",
        user,
        name,
    )
    session.send_method(0, methods.build(commands.Connection.OpenOk, known_hosts=""))


def failed(session: Session, error: AmqpError, ids: tuple[int, int]) -> None:
    """An error before the connection is open."""
    if session.state in (State.CLOSING, State.CLOSED, State.DOOMED):
        return
    log.error("Error on AMQP connection %s, state: %s:\n%s", session.name, session.state.value, error.reply_text)
    if session.state in (State.TUNING, State.OPENING):
        session.close(error.code, error.reply_text, ids)
    else:
        doom(session)
