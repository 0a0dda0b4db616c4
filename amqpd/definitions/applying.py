"""A document of definitions as a wish: what is different, and making it so.

    add         it is not there                     change      it is there, but not so (policies, permissions ...)
    conflict    a queue or exchange that is there   remove      it is there and not in the document, where that is
                and cannot become what is wished                asked for
                                                    keep        the same, but it is in use

Adding and changing is what an import does. Removing looks only at categories that the document has, in virtual hosts
that it has, and there only at what was made to last: durable, not auto-delete, no reserved name. Users, permissions,
virtual hosts and global parameters are never removed, nor is a queue that has messages or consumers: then it says so.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple, TypeAlias

from amqpd.auth.access import Unrestricted
from amqpd.auth.passwords import verify
from amqpd.auth.users import UserStore
from amqpd.core import operations
from amqpd.core.broker import Broker
from amqpd.core.operations import Actor, Done
from amqpd.core.policy import OPERATOR_POLICY
from amqpd.core.vhost import VHost
from amqpd.definitions.exporting import About, export
from amqpd.definitions.importing import DefinitionsError, import_definitions
from amqpd.errors import AmqpError
from amqpd.wire.tables import TableError, from_json, to_json

__all__ = ["Step", "apply", "plan"]

Item: TypeAlias = dict[str, Any]

IDENTITIES: dict[str, tuple[str, ...]] = {
    "users": ("name",),
    "vhosts": ("name",),
    "permissions": ("user", "vhost"),
    "topic_permissions": ("user", "vhost", "exchange"),
    "global_parameters": ("name",),
    "exchanges": ("vhost", "name"),
    "policies": ("vhost", "name"),
    "parameters": ("vhost", "component", "name"),
    "queues": ("vhost", "name"),
    "bindings": ("vhost", "source", "destination_type", "destination", "routing_key", "arguments"),
}
"""Category -> the fields that say which one it is."""

DEFAULTS: dict[str, Item] = {
    "exchanges": {"durable": False, "auto_delete": False, "internal": False, "arguments": {}},
    "queues": {"durable": False, "auto_delete": False, "arguments": {}},
    "policies": {"apply-to": "all", "priority": 0},
    "bindings": {"arguments": {}, "routing_key": ""},
}
"""What a field is where the document does not say."""

FIXED = ("exchanges", "queues")
"""What cannot be changed."""

REMOVABLE = ("bindings", "queues", "exchanges", "policies", "parameters")
"""In the order in which they go."""


class Step(NamedTuple):
    """One difference."""

    action: str
    category: str
    identity: Item
    what: str = ""
    """What is different, or why it is kept."""


def plan(broker: Broker, users: UserStore, document: Item, only: str | None = None, prune: bool = False) -> list[Step]:
    """The steps from what is there to what the document (see `importing.parse`) says; `only` is the virtual host that
    a document of one virtual host is for. Raises DefinitionsError."""
    vhost = broker.vhosts.get(only) if only is not None else None
    if only is not None and vhost is None:
        raise DefinitionsError(f'Please create virtual host "{only}" prior to importing definitions.')
    here = export(broker, users, About("", "", ""), vhost).lists
    steps: list[Step] = []
    for category in IDENTITIES:
        if category not in here:
            continue
        known = {key_of(category, item): item for item in map(partial(whole, category, only), here[category])}
        wished: set[str] = set()
        for item in document.get(category, []):
            wish = whole(category, only, item)
            key = key_of(category, wish)
            wished.add(key)
            steps += compare(users, category, known.get(key), wish)
        if prune and category in REMOVABLE and category in document:
            places = places_of(document, only)
            steps += (
                removal(broker, category, item)
                for key, item in known.items()
                if key not in wished and item["vhost"] in places and lasts(broker, category, item)
            )
    return steps


async def apply(
    broker: Broker, users: UserStore, document: Item, only: str | None = None, prune: bool = False
) -> list[Step]:
    """Make it so; the steps that were taken. Raises DefinitionsError at the first that fails."""
    steps = plan(broker, users, document, only, prune)
    await import_definitions(broker, users, document, only)
    for category in REMOVABLE:
        for step in steps:
            if step.action == "remove" and step.category == category:
                await remove(broker, step)
    return steps


# ------------------------------------------------------------------------------------------------- comparing


def whole(category: str, only: str | None, item: Item) -> Item:
    """The item with all fields that count, in one form."""
    found = {**DEFAULTS.get(category, {}), **item}
    if only is not None:
        found["vhost"] = only
    if isinstance(found.get("tags"), str):
        found["tags"] = [word.strip() for word in found["tags"].split(",") if word.strip()]
    if "limits" in found:
        # Erlang writes an empty object as a list.
        found["limits"] = found["limits"] or {}
    if "arguments" in found:
        try:
            found["arguments"] = to_json(from_json(found["arguments"] or {}))
        except (TableError, AttributeError) as error:
            raise DefinitionsError(f"{category}: 'arguments': {error}") from None
    if category == "queues":
        kind = found["arguments"].pop("x-queue-type", None)
        found["type"] = found.get("type") or kind or "classic"
    return found


def key_of(category: str, item: Item) -> str:
    return json.dumps([item.get(field) for field in IDENTITIES[category]], sort_keys=True)


def identity_of(category: str, item: Item) -> Item:
    return {field: item.get(field) for field in IDENTITIES[category]}


def compare(users: UserStore, category: str, known: Item | None, wish: Item) -> Iterator[Step]:
    """The step that is needed for one item, if any."""
    identity = identity_of(category, wish)
    if known is None:
        yield Step("add", category, identity)
        return
    differences = [
        f"{field}: {shown(known.get(field))} -> {shown(value)}"
        for field, value in wish.items()
        if field in known and known[field] != value and field not in ("password_hash", "hashing_algorithm", "metadata")
    ]
    if category == "users" and other_password(users, wish):
        differences.append("password")
    if differences:
        yield Step("conflict" if category in FIXED else "change", category, identity, "; ".join(differences))


def other_password(users: UserStore, wish: Item) -> bool:
    """Does the document give the user another password?"""
    row = users.get_user(wish["name"])
    if wish.get("password_hash") is not None:
        return bool(wish["password_hash"] != base64.b64encode(row.password_hash).decode("ascii"))
    password = wish.get("password")
    return password is not None and not verify(str(password).encode(), row.password_hash, row.hashing_algorithm)


def shown(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


# -------------------------------------------------------------------------------------------------- removing


def places_of(document: Item, only: str | None) -> set[str]:
    """The virtual hosts that the document is about."""
    if only is not None:
        return {only}
    names = {item.get("name") for item in document.get("vhosts", [])}
    return names | {item.get("vhost") for category in REMOVABLE for item in document.get(category, [])}


def lasts(broker: Broker, category: str, item: Item) -> bool:
    """Was it made to last?"""
    vhost = broker.vhosts[item["vhost"]]
    if category == "bindings":
        ends = vhost.queues if item["destination_type"] == "queue" else vhost.exchanges
        return vhost.exchanges[item["source"]].durable and ends[item["destination"]].durable
    return category not in FIXED or (
        item["durable"] and not item["auto_delete"] and not item["name"].startswith(operations.RESERVED_PREFIX)
    )


def removal(broker: Broker, category: str, item: Item) -> Step:
    """The step for something that is not in the document."""
    identity = identity_of(category, item)
    if category == "queues":
        queue = broker.vhosts[item["vhost"]].queues[item["name"]]
        messages, consumers = queue.ready + queue.unacked + len(queue.held) + len(queue.stuck), len(queue.rota.members)
        if messages or consumers:
            return Step("keep", category, identity, f"it has {messages} messages and {consumers} consumers")
    return Step("remove", category, identity)


async def remove(broker: Broker, step: Step) -> None:
    """Raises DefinitionsError."""
    item = step.identity
    vhost, actor = broker.vhosts[item["vhost"]], Actor("definitions", Unrestricted())
    gone: asyncio.Future[object] = asyncio.get_running_loop().create_future()
    try:
        OPERATIONS[step.category](broker, vhost, actor, item, gone.set_result)
        outcome = await gone
    except AmqpError as error:
        outcome = error
    if isinstance(outcome, AmqpError):
        raise DefinitionsError(f"{step.category}: {shown(item)}: {outcome.explanation}")


def remove_binding(broker: Broker, vhost: VHost, actor: Actor, item: Item, done: Done[Any]) -> None:
    ends = item["source"], item["destination_type"], item["destination"]
    operations.unbind(broker, vhost, actor, *ends, item["routing_key"], from_json(item["arguments"]), done)


def remove_queue(broker: Broker, vhost: VHost, actor: Actor, item: Item, done: Done[Any]) -> None:
    operations.delete_queue(broker, vhost, actor, item["name"], if_unused=False, if_empty=True, done=done)


def remove_exchange(broker: Broker, vhost: VHost, actor: Actor, item: Item, done: Done[Any]) -> None:
    operations.delete_exchange(broker, vhost, actor, item["name"], if_unused=False, done=done)


def remove_policy(broker: Broker, vhost: VHost, actor: Actor, item: Item, done: Done[Any]) -> None:
    operations.clear_policy(broker, vhost, item["name"], done=done)


def remove_parameter(broker: Broker, vhost: VHost, actor: Actor, item: Item, done: Done[Any]) -> None:
    if item["component"] == OPERATOR_POLICY:
        operations.clear_policy(broker, vhost, item["name"], operator=True, done=done)
    else:
        operations.clear_parameter(broker, vhost, item["component"], item["name"], done)


OPERATIONS: dict[str, Callable[[Broker, VHost, Actor, Item, Done[Any]], None]] = {
    "bindings": remove_binding,
    "queues": remove_queue,
    "exchanges": remove_exchange,
    "policies": remove_policy,
    "parameters": remove_parameter,
}
