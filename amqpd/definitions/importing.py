"""From a document of definitions to the model, through the operations that everybody uses.

Categories come one after the other, each thing after those that it needs:

    users -> virtual hosts -> permissions, topic permissions -> exchanges -> global parameters, policies, parameters
          -> queues -> bindings -> limits of virtual hosts

The items of one category are handed to their operations without waiting for one another, and what these write is
gathered, so that a thousand items are one submit to the catalog; between slices of them everybody else is served. An
import adds and changes: a user gets the password of the document, a queue or exchange that exists stays as it is,
nothing is deleted. So one that has failed in the middle can be mended and imported again. The first item that is wrong
ends it, and the error names it.

Limits of virtual hosts come last, because they are for what is declared from then on, not for what was there: RabbitMQ
does not look at them when it imports either. It does look whether a document would go beyond those in force already.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeAlias

from amqpd.auth.access import Unrestricted
from amqpd.auth.passwords import MD5
from amqpd.auth.users import UserStore
from amqpd.core import operations
from amqpd.core.broker import Broker
from amqpd.core.operations import RESERVED_PREFIX, Actor, Done
from amqpd.core.parameters import VHOST_LIMITS
from amqpd.core.policy import OPERATOR_POLICY
from amqpd.core.ports import Catalog, Change, Committed, Snapshot, VHostRow
from amqpd.core.queues.queue import Queue
from amqpd.core.vhost import VHost
from amqpd.errors import AmqpError
from amqpd.wire.tables import Table, TableError, from_json, longstr

__all__ = ["DefinitionsError", "import_definitions", "parse"]

log = logging.getLogger("amqpd.definitions")

Item: TypeAlias = dict[str, Any]
Apply: TypeAlias = Callable[[Item, Done[Any]], None]

SLICE = 50
"""Items between two looks at what else is to be done."""

BATCH = 20
"""Slices whose changes are submitted to the catalog as one."""

SHORTSTR_MAX = 255

MD5_VERSIONS = ("3.0.", "3.1.", "3.2.", "3.3.", "3.4.", "3.5.")
"""Of these versions of RabbitMQ a document does not say how passwords are hashed."""

CATEGORIES = (
    "users",
    "vhosts",
    "permissions",
    "topic_permissions",
    "exchanges",
    "global_parameters",
    "policies",
    "parameters",
    "queues",
    "bindings",
)
OF_ONE_VHOST = ("exchanges", "policies", "parameters", "queues", "bindings")


class DefinitionsError(Exception):
    """What is wrong with a document, and with which item of it."""


def parse(data: bytes | str) -> Item:
    """The document in this JSON. Raises DefinitionsError."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise DefinitionsError(f"the definitions are not JSON: {error}") from None
    if not isinstance(document, dict):
        raise DefinitionsError("the definitions are not a JSON object")
    for category in CATEGORIES:
        items = document.get(category, [])
        if not isinstance(items, list):
            raise DefinitionsError(f"{category} is not a list")
        for number, item in enumerate(items):
            if not isinstance(item, dict):
                raise DefinitionsError(f"{category}[{number}] is not an object")
    return document


async def import_definitions(broker: Broker, users: UserStore, document: Item, vhost: str | None = None) -> None:
    """Import a document that `parse` has read: all of it, or into one virtual host what belongs into one.

    Raises DefinitionsError at the first item that is wrong; what came before it stays.
    """
    importer = Importer(broker, users, document, vhost)
    importer.check_queue_limits()
    counts: Counter[str] = Counter()
    for category, apply in importer.steps():
        items = importer.items(category)
        if items:
            counts[category] += len(items)
            await Category(broker, category, items, apply).run()
    importer.say_what_was_left_out()
    found = ", ".join(f"{count} {category.replace('_', ' ')}" for category, count in counts.items())
    log.info("definitions imported: %s", found or "nothing in them")


class Gathering:
    """A catalog (`ports.Catalog`, as far as operations use it) that keeps what it is given for one submit of all."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        self.changes: list[Change] = []
        self.dones: list[Committed] = []

    def load(self) -> Snapshot:
        return self.catalog.load()

    def submit(self, changes: Sequence[Change], done: Committed) -> None:
        self.changes += changes
        self.dones.append(done)

    def close(self) -> None:
        self.catalog.close()

    async def hand_over(self) -> None:
        """Submit all that was gathered, and tell who gave it."""
        if not self.changes:
            return
        committed: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
        self.catalog.submit(self.changes, committed.set_result)
        error = await committed
        dones, self.changes, self.dones = self.dones, [], []
        for number, done in enumerate(dones, 1):
            done(error)
            if number % SLICE == 0:
                await asyncio.sleep(0)


class Category:
    """The items of one category on their way through their operations."""

    def __init__(self, broker: Broker, name: str, items: list[Item], apply: Apply) -> None:
        self.broker = broker
        self.name = name
        self.items = items
        self.apply = apply
        self.open = 0
        self.wrong: DefinitionsError | None = None
        self.through = asyncio.Event()

    async def run(self) -> None:
        """Return when all are through. Raises DefinitionsError when one was refused; those after it are not begun."""
        gathering = Gathering(self.broker.catalog)
        self.open = 1
        for number, start in enumerate(range(0, len(self.items), SLICE), 1):
            # Nobody else runs while the slice does.
            self.broker.catalog = gathering
            try:
                self.begin(self.items[start : start + SLICE])
            finally:
                self.broker.catalog = gathering.catalog
            await (gathering.hand_over() if number % BATCH == 0 else asyncio.sleep(0))
            if self.wrong is not None:
                break
        await gathering.hand_over()
        self.end_one()
        await self.through.wait()
        if self.wrong is not None:
            raise self.wrong

    def begin(self, items: list[Item]) -> None:
        """Begin the operations of these items, up to the first that is refused at once."""
        for item in items:
            self.open += 1
            done = partial(self.ended, item)
            try:
                self.apply(item, done)
            except (AmqpError, DefinitionsError) as error:
                done(error)
                return

    def ended(self, item: Item, outcome: object) -> None:
        if isinstance(outcome, Exception) and self.wrong is None:
            said = outcome.explanation if isinstance(outcome, AmqpError) else str(outcome)
            self.wrong = DefinitionsError(f"{self.named(item)}: {' '.join(said.split())}")
        self.end_one()

    def end_one(self) -> None:
        self.open -= 1
        if not self.open:
            self.through.set()

    def named(self, item: Item) -> str:
        """How an error calls the item."""
        keys = ("component", "name", "user", "exchange", "source", "destination", "vhost")
        known = ", ".join(f"{key} '{item[key]}'" for key in keys if key in item)
        return f"{self.name}[{self.items.index(item)}]" + (f" ({known})" if known else "")


class Importer:
    """One import; a method for each category, which has the signature of an operation."""

    def __init__(self, broker: Broker, users: UserStore, document: Item, only: str | None) -> None:
        self.broker = broker
        self.users = users
        self.document = document
        self.only = only
        self.version = str(document.get("rabbitmq_version", document.get("rabbit_version", "")))
        self.actor = Actor("definitions", Unrestricted())
        self.left_out: Counter[str] = Counter()

    def steps(self) -> list[tuple[str, Apply]]:
        """Category by category, what is done with an item."""
        steps: list[tuple[str, Apply]] = [
            ("users", self.user),
            ("vhosts", self.vhost),
            ("permissions", self.permission),
            ("topic_permissions", self.topic_permission),
            ("exchanges", self.exchange),
            ("global_parameters", self.global_parameter),
            ("policies", self.policy),
            ("parameters", self.parameter),
            ("queues", self.queue),
            ("bindings", self.binding),
            (VHOST_LIMITS, self.parameter),
        ]
        return [step for step in steps if self.only is None or step[0] in (*OF_ONE_VHOST, VHOST_LIMITS)]

    def items(self, category: str) -> list[Item]:
        """The items of a category; limits of virtual hosts are one of their own."""
        if category not in ("parameters", VHOST_LIMITS):
            items: list[Item] = self.document.get(category, [])
            return items
        limits = category == VHOST_LIMITS
        return [
            item for item in self.document.get("parameters", []) if (item.get("component") == VHOST_LIMITS) is limits
        ]

    def vhost_of(self, item: Item) -> VHost:
        """The virtual host that the item goes into. Raises DefinitionsError."""
        name = self.only if self.only is not None else item.get("vhost")
        if name is None:
            raise DefinitionsError("Virtual host does not exist and is not specified in definitions file.")
        vhost = self.broker.vhosts.get(name) if isinstance(name, str) else None
        if vhost is None:
            raise DefinitionsError(f'Please create virtual host "{name}" prior to importing definitions.')
        return vhost

    def check_queue_limits(self) -> None:
        """Raises DefinitionsError when the document would take a virtual host beyond its number of queues."""
        new: Counter[str] = Counter()
        for item in self.items("queues"):
            name = self.only if self.only is not None else item.get("vhost")
            vhost = self.broker.vhosts.get(name) if isinstance(name, str) else None
            if vhost is not None and item.get("name") not in vhost.queues:
                new[vhost.name] += 1
        for name, count in new.items():
            vhost = self.broker.vhosts[name]
            limit = vhost.limit("max-queues")
            if limit is not None and len(vhost.queues) + count > limit:
                raise DefinitionsError(
                    f'Adding {count} queue(s) to virtual host "{name}" would exceed the limit of {limit} queue(s).\n\n'
                    f"This virtual host currently has {len(vhost.queues)} queue(s) defined.\n\nImport aborted!"
                )

    def say_what_was_left_out(self) -> None:
        for what, count in self.left_out.items():
            log.warning("definitions: left out %d %s", count, what)

    # ------------------------------------------------------------------------------------ users and virtual hosts

    def user(self, item: Item, done: Done[Any]) -> None:
        name, limits = text(item, "name"), mapping(item, "limits")
        hashed, password = item.get("password_hash"), item.get("password")
        algorithm = item.get("hashing_algorithm")
        if algorithm is None and self.version.startswith(MD5_VERSIONS):
            algorithm = MD5

        def stored(outcome: AmqpError | None) -> None:
            if outcome is None and limits:
                try:
                    self.users.set_limits(name, limits, done)
                except AmqpError as error:
                    done(error)
            else:
                done(outcome)

        self.users.put_user(
            name,
            words(item, "tags"),
            stored,
            password=text(item, "password") if hashed is None and password is not None else None,
            password_hash=octets(item, "password_hash") if hashed is not None else None,
            algorithm=algorithm,
        )

    def vhost(self, item: Item, done: Done[Any]) -> None:
        name, known = short(item, "name"), {**mapping(item, "metadata"), **item}
        vhost = self.broker.vhosts.get(name)
        row = vhost.row if vhost is not None else VHostRow(name)
        kind = known.get("default_queue_type")
        row = row._replace(
            description=text(known, "description", row.description),
            tags=words(known, "tags") if "tags" in known else row.tags,
            # RabbitMQ writes the atom undefined as a text.
            default_queue_type=row.default_queue_type if kind in (None, "undefined") else kind,
            protected_from_deletion=flag(known, "protected_from_deletion", row.protected_from_deletion),
            tracing=flag(known, "tracing", row.tracing),
        )
        operations.put_vhost(self.broker, row, done)

    def permission(self, item: Item, done: Done[Any]) -> None:
        patterns = text(item, "configure"), text(item, "write"), text(item, "read")
        self.users.set_permissions(text(item, "user"), self.vhost_of(item).name, *patterns, done)

    def topic_permission(self, item: Item, done: Done[Any]) -> None:
        patterns = text(item, "write"), text(item, "read")
        vhost, exchange = self.vhost_of(item).name, text(item, "exchange")
        self.users.set_topic_permissions(text(item, "user"), vhost, exchange, *patterns, done)

    # ---------------------------------------------------------------------------------- parameters and policies

    def global_parameter(self, item: Item, done: Done[Any]) -> None:
        operations.set_global_parameter(self.broker, text(item, "name"), item.get("value"), done)

    def policy(self, item: Item, done: Done[Any]) -> None:
        operations.set_policy(
            self.broker,
            self.vhost_of(item),
            text(item, "name"),
            pattern=item.get("pattern"),
            definition=item.get("definition"),
            priority=item.get("priority", 0),
            apply_to=item.get("apply-to", "all"),
            done=done,
        )

    def parameter(self, item: Item, done: Done[Any]) -> None:
        component, name, value = text(item, "component"), text(item, "name"), item.get("value")
        if component == OPERATOR_POLICY and isinstance(value, dict):
            value = {**value, "definition": from_pairs(value.get("definition"))}
        operations.set_parameter(self.broker, self.vhost_of(item), component, name, value, done)

    # ----------------------------------------------------------------------------------------------- topology

    def exchange(self, item: Item, done: Done[Any]) -> None:
        vhost, name = self.vhost_of(item), short(item, "name")
        if not name or name.startswith(RESERVED_PREFIX):
            self.left_out["exchanges whose names are reserved"] += 1
            done(None)
        elif name in vhost.exchanges:
            done(None)
        else:
            operations.declare_exchange(
                self.broker,
                vhost,
                self.actor,
                name,
                text(item, "type"),
                durable=flag(item, "durable"),
                auto_delete=flag(item, "auto_delete"),
                internal=flag(item, "internal"),
                arguments=table(item),
                done=done,
            )

    def queue(self, item: Item, done: Done[Any]) -> None:
        vhost, name = self.vhost_of(item), short(item, "name")
        if not name or name.startswith(RESERVED_PREFIX):
            self.left_out["queues whose names are reserved"] += 1
            done(None)
        elif name in vhost.queues:
            done(None)
        else:
            arguments = table(item)
            default = vhost.row.default_queue_type or self.broker.default_queue_type or "classic"
            kind = text(item, "type", default)
            if kind != default:
                arguments.setdefault("x-queue-type", longstr(kind))
            operations.declare_queue(
                self.broker,
                vhost,
                self.actor,
                name,
                durable=flag(item, "durable"),
                exclusive=False,
                auto_delete=flag(item, "auto_delete"),
                arguments=arguments,
                done=done,
            )

    def binding(self, item: Item, done: Done[Any]) -> None:
        vhost, source, destination = self.vhost_of(item), text(item, "source"), text(item, "destination")
        kind, key = text(item, "destination_type"), short(item, "routing_key", "")
        if kind not in ("queue", "exchange"):
            raise DefinitionsError(f"'destination_type' is neither queue nor exchange but '{kind}'")
        found = (vhost.queues if kind == "queue" else vhost.exchanges).get(destination)
        # RabbitMQ exports the bindings of exclusive queues, too.
        if source not in vhost.exchanges or found is None or (isinstance(found, Queue) and found.owner is not None):
            self.left_out["bindings from or to what does not exist"] += 1
            done(None)
        else:
            operations.bind(self.broker, vhost, self.actor, source, kind, destination, key, table(item), done)


# ------------------------------------------------------------------------------------------ what an item holds


def text(item: Item, key: str, default: str | None = None) -> str:
    """A text of the item; without a default it has to be there. Raises DefinitionsError, like those below."""
    value = item.get(key, default)
    if value is None:
        raise DefinitionsError(f"'{key}' is missing")
    if not isinstance(value, str):
        raise DefinitionsError(f"'{key}' is not a string")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise DefinitionsError(f"'{key}' is not valid UTF-8") from None
    return value


def short(item: Item, key: str, default: str | None = None) -> str:
    """A text that AMQP can carry as a short string."""
    value = text(item, key, default)
    if len(value.encode("utf-8")) > SHORTSTR_MAX:
        raise DefinitionsError(f"'{key}' is longer than {SHORTSTR_MAX} octets")
    return value


def flag(item: Item, key: str, default: bool = False) -> bool:
    value = item.get(key, default)
    if not isinstance(value, bool):
        raise DefinitionsError(f"'{key}' is not a boolean")
    return value


def mapping(item: Item, key: str) -> Item:
    """An object of the item, empty where there is none; Erlang writes an empty one as a list."""
    value = item.get(key) or {}
    if not isinstance(value, dict):
        raise DefinitionsError(f"'{key}' is not an object")
    return value


def from_pairs(value: object) -> object:
    """RabbitMQ 3 writes some objects as a list of pairs, as Erlang has them."""
    if isinstance(value, list) and all(isinstance(pair, list) and len(pair) == 2 for pair in value):
        return {str(key): item for key, item in value}
    return value


def words(item: Item, key: str) -> tuple[str, ...]:
    """A list of words, as JSON has lists or with commas between them."""
    value = item.get(key, [])
    if isinstance(value, str):
        value = [word.strip() for word in value.split(",") if word.strip()]
    if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
        raise DefinitionsError(f"'{key}' is neither a list of strings nor a string with commas")
    return tuple(value)


def octets(item: Item, key: str) -> bytes:
    try:
        return base64.b64decode(text(item, key), validate=True)
    except (binascii.Error, ValueError):
        raise DefinitionsError(f"'{key}' is not base64") from None


def table(item: Item) -> Table:
    try:
        return from_json(mapping(item, "arguments"))
    except TableError as error:
        raise DefinitionsError(f"'arguments': {error}") from None
