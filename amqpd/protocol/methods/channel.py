"""Classes channel and access."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from amqpd.errors import NotImplemented_
from amqpd.wire import methods
from amqpd.wire.methods import Access, commands

if TYPE_CHECKING:
    from amqpd.protocol.channel import Channel

__all__ = ["access_request", "channel_close", "channel_flow", "channel_flow_ok"]


def channel_flow(channel: Channel, method: Any) -> None:
    """Deliveries cannot be paused; that they go on can be agreed to."""
    if not method.active:
        raise NotImplemented_("active=false")
    channel.session.send_method(channel.number, methods.build(commands.Channel.FlowOk, active=True))


def channel_flow_ok(channel: Channel, method: Any) -> None:
    """The answer to a flow that this server never sends: nothing to do."""


def channel_close(channel: Channel, method: Any) -> None:
    """The client is done with the channel; what it had not settled goes back before it is told so."""
    channel.close()
    channel.session.channel_gone(channel)
    channel.session.send_method(channel.number, methods.build(commands.Channel.CloseOk))


def access_request(channel: Channel, method: Any) -> None:
    """A relic of AMQP 0-8 that old clients still send: always granted."""
    channel.session.send_method(channel.number, methods.build(Access.RequestOk, ticket=1))
