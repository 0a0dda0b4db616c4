"""Each object of the model as the API shows it: RabbitMQ's field names, and only values that are true.

Figures that nobody counts yet (rates, octets, memory per queue) are left out rather than given as nothing.
"""

from __future__ import annotations

import base64
import hashlib
from urllib.parse import quote_plus

from amqpd.core.delayed import Delays, Waiting
from amqpd.core.events import about_exchange
from amqpd.core.exchanges.base import Binding, Exchange
from amqpd.core.message import PERSISTENT, props_of, routing_key_of
from amqpd.core.policy import UNTOUCHED, Applied, Policy
from amqpd.core.ports import PermissionRow, TopicPermissionRow, UserRow
from amqpd.core.queues.consumer import Consumer
from amqpd.core.queues.keeping import octets
from amqpd.core.queues.queue import Queue
from amqpd.core.queues.stream import ClosedStream
from amqpd.core.vhost import VHost
from amqpd.management.lists import Item
from amqpd.wire import properties
from amqpd.wire.tables import Table, canonical, to_json

__all__ = [
    "binding",
    "consumer",
    "default_binding",
    "default_exchange",
    "delayed",
    "exchange",
    "parameter",
    "permission",
    "policy",
    "properties_key",
    "queue",
    "topic_permission",
    "user",
    "vhost",
]


def policies(applied: Applied) -> Item:
    """The policies that count for a queue or exchange."""
    return {
        "policy": applied.policy.name if applied.policy is not None else None,
        "operator_policy": applied.operator.name if applied.operator is not None else None,
        "effective_policy_definition": applied.definition,
    }


def exchange(exchange: Exchange, delays: Delays | None) -> Item:
    """One exchange."""
    return {
        **about_exchange(exchange),
        "arguments": to_json(exchange.arguments),
        **policies(exchange.applied),
        **messages_delayed(delays),
    }


def default_exchange(vhost: str, delays: Delays | None) -> Item:
    """The exchange without a name, which the model knows only by what it does."""
    return {
        "name": "",
        "vhost": vhost,
        "type": "direct",
        "durable": True,
        "auto_delete": False,
        "internal": False,
        "arguments": {},
        **policies(UNTOUCHED),
        **messages_delayed(delays),
    }


def messages_delayed(delays: Delays | None) -> Item:
    """How many messages the exchange delays; nothing about one that never has."""
    return {} if delays is None else {"messages_delayed": len(delays)}


def delayed(waiting: Waiting, vhost: str, exchange: str) -> Item:
    """One delayed message; `exchange` is the one that delays it."""
    due, message_id, routing, content, origin = waiting
    message = (message_id, routing, content, origin, 0)
    return {
        "id": f"{due}-{message_id}",
        "vhost": vhost,
        "exchange": exchange,
        "deliver_at": due,
        "routing_key": routing_key_of(message),
        "persistent": message_id & PERSISTENT != 0,
        "payload_bytes": octets((message,)),
        "properties": properties.to_json(props_of(message)),
    }


def queue(queue: Queue, node: str) -> Item:
    """One queue. Its counts are those after all that can be delivered now has been."""
    queue.catch_up()
    item: Item = {
        "name": queue.name,
        "vhost": queue.vhost,
        "type": queue.kind,
        "durable": queue.durable,
        "auto_delete": queue.auto_delete,
        "exclusive": queue.owner is not None,
        "arguments": to_json(queue.arguments),
        "node": node,
        "state": "down" if isinstance(queue, ClosedStream) else "running",
        **policies(queue.applied),
        "messages": queue.ready + queue.unacked + len(queue.held) + len(queue.stuck),
        "messages_ready": queue.ready,
        "messages_unacknowledged": queue.unacked,
        "consumers": len(queue.rota.members),
    }
    if queue.owner is not None:
        item["owner_pid_details"] = {"name": getattr(queue.owner, "name", "")}
    exclusive = [consumer.tag for consumer in queue.rota.members if consumer.exclusive]
    if exclusive:
        item["exclusive_consumer_tag"] = exclusive[0]
    return item


def consumer(consumer: Consumer, node: str) -> Item:
    """One consumer."""
    channel = consumer.channel
    return {
        "consumer_tag": consumer.tag,
        "queue": {"name": consumer.queue.name, "vhost": consumer.queue.vhost},
        "channel_details": {
            "name": f"{channel.connection_name} ({channel.number})",
            "number": channel.number,
            "connection_name": channel.connection_name,
            "user": channel.user,
            "node": node,
        },
        "ack_required": not consumer.no_ack,
        "exclusive": consumer.exclusive,
        "prefetch_count": consumer.prefetch,
        "active": True,
        "activity_status": "up",
        "arguments": to_json(consumer.arguments),
    }


# ------------------------------------------------------------------------------------------------- bindings


def properties_key(routing_key: str, arguments: Table) -> str:
    """What tells this binding from others between the same ends: the routing key, and a hash of the arguments.

    `~` when there is neither. Clients take it as it is, so the hash need not be the one that RabbitMQ would make.
    """
    key = quote_plus(routing_key).replace("~", "%7E")
    if not arguments:
        return key or "~"
    digest = hashlib.blake2b(canonical(arguments), digest_size=16).digest()
    return f"{key}~{base64.urlsafe_b64encode(digest).decode('ascii').rstrip('=')}"


def binding(binding: Binding) -> Item:
    """One binding."""
    return {
        "source": binding.source.name,
        "vhost": binding.source.vhost,
        "destination": binding.destination.name,
        "destination_type": binding.identity[0],
        "routing_key": binding.routing_key,
        "arguments": to_json(binding.arguments),
        "properties_key": properties_key(binding.routing_key, binding.arguments),
    }


def default_binding(queue: Queue) -> Item:
    """The binding by which the default exchange reaches every queue."""
    return {
        "source": "",
        "vhost": queue.vhost,
        "destination": queue.name,
        "destination_type": "queue",
        "routing_key": queue.name,
        "arguments": {},
        "properties_key": properties_key(queue.name, {}),
    }


# ------------------------------------------------------------------------------------------- virtual hosts, users


def vhost(vhost: VHost, node: str, default_queue_type: str) -> Item:
    """One virtual host; `default_queue_type` is the node's."""
    row = vhost.row
    metadata = {
        "description": row.description,
        "tags": list(row.tags),
        "default_queue_type": row.default_queue_type or default_queue_type or "classic",
    }
    return {
        "name": row.name,
        **metadata,
        "metadata": metadata,
        "protected_from_deletion": row.protected_from_deletion,
        "tracing": row.tracing,
        "cluster_state": {node: "running"},
    }


def user(row: UserRow) -> Item:
    """One user."""
    return {
        "name": row.name,
        "password_hash": base64.b64encode(row.password_hash).decode("ascii"),
        "hashing_algorithm": row.hashing_algorithm,
        "tags": list(row.tags),
        "limits": dict(row.limits),
    }


def permission(row: PermissionRow) -> Item:
    """What a user may do in a virtual host."""
    return {
        "user": row.user,
        "vhost": row.vhost,
        "configure": row.configure,
        "write": row.write,
        "read": row.read,
    }


def topic_permission(row: TopicPermissionRow) -> Item:
    """What a user may do with the topics of an exchange."""
    return dict(row._asdict())


# ------------------------------------------------------------------------------------------------- parameters


def policy(vhost: str, policy: Policy) -> Item:
    """One policy or operator policy."""
    return {"vhost": vhost, "name": policy.name, **policy.value()}


def parameter(vhost: str, component: str, name: str, value: object) -> Item:
    """One runtime parameter."""
    return {"vhost": vhost, "component": component, "name": name, "value": value}
