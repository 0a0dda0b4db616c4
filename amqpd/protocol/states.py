"""The law of a conversation: which method may come in which state, from the client's side.

    connection   HEADER -> STARTING -> TUNING -> OPENING -> RUNNING -> CLOSING -> CLOSED
                              └ SECURING ┘                     (any state but CLOSED may fall to DOOMED or CLOSED)
    channel      (absent) -> OPEN -> CLOSING -> (absent)

STARTING, SECURING, TUNING, OPENING wait for start-ok, secure-ok, tune-ok and open. CLOSING: the server has sent close
and waits for close-ok; everything else is ignored. DOOMED: a refused login, kept silent for a while before the socket
is closed, so that guessing passwords is slow. Source: AMQP 0-9-1 sections 2.2.4 and 1.4; rabbit_reader.
"""

from __future__ import annotations

from enum import Enum

from amqpd.errors import AmqpError, ChannelErrorHard, CommandInvalid
from amqpd.wire.methods import Access, commands

__all__ = ["CHANNEL_LAW", "CONNECTION_LAW", "ChannelState", "State", "check_channel", "check_connection"]


class State(Enum):
    """Where a connection stands. The value is RabbitMQ's word for it."""

    HEADER = "pre_init"
    STARTING = "starting"
    SECURING = "securing"
    TUNING = "tuning"
    OPENING = "opening"
    RUNNING = "running"
    CLOSING = "closing"
    CLOSED = "closed"
    DOOMED = "doomed"


class ChannelState(Enum):
    """Where a channel stands."""

    OPEN = "running"
    CLOSING = "closing"


CONNECTION_LAW: dict[State, frozenset[type]] = {
    State.STARTING: frozenset({commands.Connection.StartOk}),
    State.SECURING: frozenset({commands.Connection.SecureOk}),
    State.TUNING: frozenset({commands.Connection.TuneOk}),
    State.OPENING: frozenset({commands.Connection.Open}),
    State.RUNNING: frozenset(
        {commands.Connection.Close, commands.Connection.CloseOk, commands.Connection.UpdateSecret}
    ),
    State.CLOSING: frozenset({commands.Connection.Close, commands.Connection.CloseOk}),
}
"""What may come on channel 0. Closing is legal once the peer is known."""

CHANNEL_LAW: dict[ChannelState, frozenset[type]] = {
    ChannelState.OPEN: frozenset(
        {
            commands.Channel.Flow,
            commands.Channel.FlowOk,
            commands.Channel.Close,
            Access.Request,
            commands.Exchange.Declare,
            commands.Exchange.Delete,
            commands.Exchange.Bind,
            commands.Exchange.Unbind,
            commands.Queue.Declare,
            commands.Queue.Bind,
            commands.Queue.Purge,
            commands.Queue.Delete,
            commands.Queue.Unbind,
            commands.Basic.Qos,
            commands.Basic.Consume,
            commands.Basic.Cancel,
            commands.Basic.Publish,
            commands.Basic.Get,
            commands.Basic.Ack,
            commands.Basic.Reject,
            commands.Basic.Nack,
            commands.Basic.Recover,
            commands.Basic.RecoverAsync,
            commands.Confirm.Select,
            commands.Tx.Select,
            commands.Tx.Commit,
            commands.Tx.Rollback,
        }
    ),
    ChannelState.CLOSING: frozenset({commands.Channel.Close, commands.Channel.CloseOk}),
}
"""What may come on an open channel; whatever a closing one does not list is dropped."""


def check_connection(state: State, method: object) -> None:
    """Raises ChannelErrorHard for a method that may not come on channel 0 in this state."""
    if type(method) not in CONNECTION_LAW.get(state, ()):
        raise ChannelErrorHard(f"unexpected method in connection state {state.value}")


def check_channel(method: object) -> None:
    """Raises the error for a method that may not come on an open channel."""
    if type(method) in CHANNEL_LAW[ChannelState.OPEN]:
        return
    error: AmqpError
    if isinstance(method, commands.Channel.Open):
        error = ChannelErrorHard("second 'channel.open' seen")
    else:
        error = CommandInvalid("unimplemented method")
    raise error
