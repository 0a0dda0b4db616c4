"""The methods of each class, as functions named like the specification: `queue_declare(channel, method)`.

The two tables say what runs for which method. basic.publish is not among them: it runs when its content is complete.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from amqpd.protocol import handshake
from amqpd.protocol.methods import basic, channel, confirm, connection, exchange, queue, tx
from amqpd.wire.methods import Access, commands

__all__ = ["CHANNEL_METHODS", "CONNECTION_METHODS"]

CONNECTION_METHODS: dict[type, Callable[[Any, Any], None]] = {
    commands.Connection.StartOk: handshake.start_ok,
    commands.Connection.SecureOk: handshake.secure_ok,
    commands.Connection.TuneOk: handshake.tune_ok,
    commands.Connection.Open: handshake.open_,
    commands.Connection.Close: connection.connection_close,
    commands.Connection.CloseOk: connection.connection_close_ok,
    commands.Connection.UpdateSecret: connection.connection_update_secret,
}

CHANNEL_METHODS: dict[type, Callable[[Any, Any], None]] = {
    commands.Channel.Flow: channel.channel_flow,
    commands.Channel.FlowOk: channel.channel_flow_ok,
    commands.Channel.Close: channel.channel_close,
    Access.Request: channel.access_request,
    commands.Exchange.Declare: exchange.exchange_declare,
    commands.Exchange.Delete: exchange.exchange_delete,
    commands.Exchange.Bind: exchange.exchange_bind,
    commands.Exchange.Unbind: exchange.exchange_unbind,
    commands.Queue.Declare: queue.queue_declare,
    commands.Queue.Bind: queue.queue_bind,
    commands.Queue.Purge: queue.queue_purge,
    commands.Queue.Delete: queue.queue_delete,
    commands.Queue.Unbind: queue.queue_unbind,
    commands.Basic.Qos: basic.basic_qos,
    commands.Basic.Consume: basic.basic_consume,
    commands.Basic.Cancel: basic.basic_cancel,
    commands.Basic.Get: basic.basic_get,
    commands.Basic.Ack: basic.basic_ack,
    commands.Basic.Reject: basic.basic_reject,
    commands.Basic.Nack: basic.basic_nack,
    commands.Basic.Recover: basic.basic_recover,
    commands.Basic.RecoverAsync: basic.basic_recover_async,
    commands.Confirm.Select: confirm.confirm_select,
    commands.Tx.Select: tx.tx_select,
    commands.Tx.Commit: tx.tx_commit,
    commands.Tx.Rollback: tx.tx_rollback,
}
