"""Class confirm."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from amqpd.errors import PreconditionFailed
from amqpd.protocol.confirms import Confirms
from amqpd.wire import methods
from amqpd.wire.methods import commands

if TYPE_CHECKING:
    from amqpd.protocol.channel import Channel

__all__ = ["confirm_select"]


def confirm_select(channel: Channel, method: Any) -> None:
    """Publishes are confirmed from now on."""
    if channel.transaction is not None:
        raise PreconditionFailed("cannot switch from tx to confirm mode")
    session = channel.session
    if channel.confirms is None:
        channel.confirms = Confirms(channel.number, session.outbox.send, session.broker.turn.confirm)
    if not method.nowait:
        session.send_method(channel.number, methods.build(commands.Confirm.SelectOk))
