"""From the model to a document of definitions.

A document is a head and lists. The lists are made item by item while they are sent: of a hundred thousand queues there
is never more than one as JSON. What lives as long as a connection only (exclusive queues, their bindings) is left out,
and so is what every virtual host has (the default exchange, amq.*). Octets that are no text become RabbitMQ's stand-in
for them.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, TypeAlias

from amqpd.auth.users import UserStore
from amqpd.core import operations
from amqpd.core.broker import Broker
from amqpd.core.exchanges.base import Binding, Exchange
from amqpd.core.operations import RESERVED_PREFIX
from amqpd.core.parameters import LIMITS, VHOST_LIMITS
from amqpd.core.policy import POLICY
from amqpd.core.queues.queue import Queue
from amqpd.core.vhost import VHost
from amqpd.wire.tables import json_text, to_json

__all__ = ["About", "Document", "export"]

Item: TypeAlias = dict[str, Any]


class About(NamedTuple):
    """What a document says of where it comes from."""

    product_name: str
    product_version: str
    cluster_name: str


class Document(NamedTuple):
    """The head's fields, and the lists by name. A list can be gone through once."""

    head: Item
    lists: dict[str, Iterator[Item]]

    def pieces(self) -> Iterator[str]:
        """The document as JSON, in pieces that hold one item at most."""
        encode = json.JSONEncoder(separators=(",", ":")).encode
        yield encode(self.head)[:-1]
        for name, items in self.lists.items():
            before = f",{encode(name)}:["
            for item in items:
                yield before + encode(item)
                before = ","
            yield "]" if before == "," else before + "]"
        yield "}"


def export(broker: Broker, users: UserStore, about: About, only: VHost | None = None) -> Document:
    """The definitions of the broker, or of one virtual host."""
    head: Item = {
        "rabbit_version": about.product_version,
        "rabbitmq_version": about.product_version,
        "product_name": about.product_name,
        "product_version": about.product_version,
    }
    if only is not None:
        return export_vhost(head, only)
    head |= {
        "rabbitmq_definition_format": "cluster",
        "original_cluster_name": about.cluster_name,
        "explanation": f"Definitions of cluster '{about.cluster_name}'",
    }
    vhosts = list(broker.vhosts.values())
    lists: dict[str, Iterator[Item]] = {
        "users": map(user, users.list_users()),
        "vhosts": map(vhost_item, vhosts),
        "permissions": (dict(row._asdict()) for row in users.list_permissions()),
        "topic_permissions": (dict(row._asdict()) for row in users.list_topic_permissions()),
        "global_parameters": (
            {"name": name, "value": value} for name, value in operations.list_global_parameters(broker).items()
        ),
        **contents(vhosts),
    }
    return Document(head, lists)


def export_vhost(head: Item, vhost: VHost) -> Document:
    """The definitions in one virtual host, which can be imported into one of any name."""
    head |= {
        "rabbitmq_definition_format": "single_virtual_host",
        "original_vhost_name": vhost.name,
        "explanation": f"Definitions of virtual host '{vhost.name}'",
        **metadata(vhost),
        "metadata": metadata(vhost),
        "limits": vhost.parameters.get(VHOST_LIMITS, {}).get(LIMITS, {}),
    }

    def bare(item: Item) -> Item:
        del item["vhost"]
        return item

    return Document(head, {name: map(bare, items) for name, items in contents([vhost]).items()})


def contents(vhosts: Iterable[VHost]) -> dict[str, Iterator[Item]]:
    """What lies in these virtual hosts, as they are now."""
    parameters: list[Item] = []
    policies: list[Item] = []
    queues: list[Queue] = []
    exchanges: list[Exchange] = []
    bindings: list[Binding] = []
    for vhost in vhosts:
        for component, values in vhost.parameters.items():
            if component != POLICY:
                parameters += (
                    {"vhost": vhost.name, "component": component, "name": name, "value": value}
                    for name, value in values.items()
                )
        for policy in vhost.policies.named[POLICY].values():
            policies.append({"vhost": vhost.name, "name": policy.name, **policy.value()})
        queues += (queue for queue in vhost.queues.values() if queue.owner is None)
        for one in vhost.exchanges.values():
            if not one.name.startswith(RESERVED_PREFIX):
                exchanges.append(one)
            bindings += one.outgoing.values()
    return {
        "parameters": iter(parameters),
        "policies": iter(policies),
        "queues": map(queue_item, queues),
        "exchanges": map(exchange, exchanges),
        "bindings": map(binding, filter(lasting, bindings)),
    }


# ------------------------------------------------------------------------------------------------------- items


def user(row: Any) -> Item:
    return {
        "name": row.name,
        "password_hash": base64.b64encode(row.password_hash).decode("ascii"),
        "hashing_algorithm": row.hashing_algorithm,
        "tags": list(row.tags),
        "limits": dict(row.limits),
    }


def metadata(vhost: VHost) -> Item:
    row = vhost.row
    known: Item = {"description": row.description, "tags": list(row.tags)}
    if row.default_queue_type:
        known["default_queue_type"] = row.default_queue_type
    if row.protected_from_deletion:
        known["protected_from_deletion"] = True
    return known


def vhost_item(vhost: VHost) -> Item:
    item = {"name": vhost.name, **metadata(vhost), "metadata": metadata(vhost)}
    return item | {"tracing": True} if vhost.row.tracing else item


def queue_item(queue: Queue) -> Item:
    return {
        "vhost": queue.vhost,
        "name": queue.name,
        "type": queue.kind,
        "durable": queue.durable,
        "auto_delete": queue.auto_delete,
        "arguments": to_json(queue.arguments),
    }


def exchange(exchange: Exchange) -> Item:
    return {
        "vhost": exchange.vhost,
        "name": exchange.name,
        "type": exchange.kind,
        "durable": exchange.durable,
        "auto_delete": exchange.auto_delete,
        "internal": exchange.internal,
        "arguments": to_json(exchange.arguments),
    }


def lasting(binding: Binding) -> bool:
    """A binding whose ends are exported, or always there."""
    return not isinstance(binding.destination, Queue) or binding.destination.owner is None


def binding(binding: Binding) -> Item:
    return {
        "source": binding.source.name,
        "vhost": binding.source.vhost,
        "destination": binding.destination.name,
        "destination_type": binding.identity[0],
        "routing_key": json_text(binding.routing_key.encode("utf-8", "surrogateescape")),
        "arguments": to_json(binding.arguments),
    }
