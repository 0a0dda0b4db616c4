"""What can be done to the model: one function per operation, called alike by AMQP, HTTP, the CLI and imports.

An operation checks (permission, existence, equivalence), writes the catalog when durable things change, and then
answers through `done`: with its result, or with the AmqpError that it met after the wait. What is wrong before any wait
is raised. When nothing durable changes, `done` is called before the operation returns.

A durable object exists (routes, takes messages, is found) only once its commit is in. Whoever declares the same name
meanwhile waits for that commit and looks again. A deletion takes effect in the model at once and is answered after its
commit.

Source: RabbitMQ's rabbit_channel (handle_method, binding_action), rabbit_amqqueue, rabbit_exchange.
"""

from __future__ import annotations

from amqpd.core.operations.bindings import bind, unbind
from amqpd.core.operations.common import RESERVED_PREFIX, Actor, Done
from amqpd.core.operations.delayed import cancel_delayed, list_delayed
from amqpd.core.operations.exchanges import declare_exchange, delete_exchange, passive_exchange
from amqpd.core.operations.explain import explain_route
from amqpd.core.operations.limits import check_channel_limit, check_connection_limits
from amqpd.core.operations.parameters import (
    DEFINITIONS_HASH,
    clear_global_parameter,
    clear_parameter,
    clear_policy,
    clear_vhost_limits,
    list_global_parameters,
    set_global_parameter,
    set_parameter,
    set_policy,
    set_vhost_limits,
)
from amqpd.core.operations.queues import (
    DeclaredQueue,
    cancel_consumer,
    close_connection,
    declare_queue,
    delete_queue,
    find_queue,
    passive_queue,
    purge_queue,
)
from amqpd.core.operations.vhosts import delete_vhost, find_vhost, put_vhost

__all__ = [
    "DEFINITIONS_HASH",
    "RESERVED_PREFIX",
    "Actor",
    "DeclaredQueue",
    "Done",
    "bind",
    "cancel_consumer",
    "cancel_delayed",
    "check_channel_limit",
    "check_connection_limits",
    "clear_global_parameter",
    "clear_parameter",
    "clear_policy",
    "clear_vhost_limits",
    "close_connection",
    "declare_exchange",
    "declare_queue",
    "delete_exchange",
    "delete_queue",
    "delete_vhost",
    "explain_route",
    "find_queue",
    "find_vhost",
    "list_delayed",
    "list_global_parameters",
    "passive_exchange",
    "passive_queue",
    "purge_queue",
    "put_vhost",
    "set_global_parameter",
    "set_parameter",
    "set_policy",
    "set_vhost_limits",
    "unbind",
]
