"""The plan: what a publish needs to know, worked out once per set of basic.publish arguments.

A plan says that the user may write to the exchange, which queues the message goes to, and how exchange and routing key
look in a delivery. It is found by the undecoded arguments, so that the thousandth publish costs one look-up instead of
decoding, permission check and routing. Plans belong to a (virtual host, user) pair and are shared by its connections.

A plan is valid while its guard's epoch is what it was: the exchange's epoch, which every change of a binding or
alternate exchange raises in all exchanges that lead there, or, for the default exchange, that of the queue itself. A
change of permissions empties the user's plans. Two kinds of plan are made anew each time: those to a name that no queue
has (or a direct reply), so that temporary queues disturb no plan; and those of an exchange whose answer depends on more
than the key keep everything but the targets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias

from amqpd.core import routing
from amqpd.core.arguments import exchange_resource
from amqpd.core.exchanges.base import Depends, Exchange, Witness
from amqpd.core.ports import Access
from amqpd.core.queues.queue import Queue
from amqpd.core.queues.reply import REPLY_TO_PREFIX, ReplyTarget
from amqpd.core.queues.stream import Stream
from amqpd.errors import AccessRefused, AmqpError, NotFound
from amqpd.wire.outgoing import shortstr
from amqpd.wire.tables import Table

if TYPE_CHECKING:
    from amqpd.core.delayed import Delays
    from amqpd.core.vhost import VHost

__all__ = ["DEFAULT_EXCHANGE_ALIAS", "Plan", "Plans", "Target", "durable_ids", "require_topic"]

DEFAULT_EXCHANGE_ALIAS = "amq.default"
"""The name under which permissions see the default exchange."""

PLANS_MAX = 8192

Target: TypeAlias = "Queue | ReplyTarget | Witness | Delays"


class Guard(Protocol):
    epoch: int


def durable_ids(targets: Sequence[Target]) -> tuple[int, ...]:
    """The catalog ids of those among the targets that keep their messages in the journal."""
    return tuple(target.id for target in targets if target.durable and not isinstance(target, Stream))


def require_topic(access: Access, user: str, vhost: str, permission: str, exchange: Exchange, key: str) -> None:
    """Raises AccessRefused when the exchange is of type topic and the user may not use this key of it."""
    if exchange.kind == "topic" and not access.allows_topic(user, vhost, permission, exchange.name, key):
        raise AccessRefused(
            f"{permission} access to topic '{key}' in exchange '{exchange.name}' in vhost '{vhost}' refused for user "
            f"'{user}'"
        )


class Plan:
    """Where messages with these arguments go. `targets` is None when each message has to be asked."""

    __slots__ = ("durable", "epoch", "exchange", "guard", "key", "routing", "targets")

    def __init__(
        self, exchange: Exchange | None, key: str, routing: bytes, guard: Guard, targets: Sequence[Target] | None
    ) -> None:
        self.exchange = exchange
        self.key = key
        self.routing = routing
        self.guard = guard
        self.epoch = guard.epoch
        self.targets = targets
        self.durable = durable_ids(targets) if targets else ()


class Unguarded:
    """The guard of a plan that is good for one message."""

    epoch = 0


UNGUARDED = Unguarded()


class Entrance(NamedTuple):
    """An exchange that the user may publish to, as long as its epoch is the same: what every key has in common."""

    exchange: Exchange
    epoch: int
    depends: Depends
    name: bytes
    """As a short string."""


class Plans:
    """The plans of one user in one virtual host."""

    def __init__(
        self, vhost: VHost, user: str, access: Access, replies: Mapping[str, ReplyTarget], traced: bool = False
    ) -> None:
        self.vhost = vhost
        self.user = user
        self.access = access
        self.replies = replies
        self.traced = traced
        """Is each message to be asked, so that it can be shown to the firehose?"""
        self.known: dict[bytes, Plan] = {}
        self.entrances: dict[str, Entrance] = {}
        self.once: set[bytes] = set()
        """Arguments that were seen once: a plan is kept from the second time on, so that names which are used once (the
        queue of one request) push out none and hold nothing."""

    def trace(self, traced: bool) -> None:
        """Have each message asked from now on, or no longer."""
        self.traced = traced
        self.forget()

    def forget(self) -> None:
        """Permissions have changed: nothing that was worked out holds."""
        self.known.clear()
        self.entrances.clear()

    def find(self, arguments: bytes, exchange_name: str, key: str) -> Plan:
        """The plan for a publish with these undecoded arguments.

        Raises AccessRefused when the user may not write to the exchange or its topic, or the exchange is internal,
        NotFound when there is none.
        """
        plan = self.known.get(arguments)
        if plan is not None and plan.guard.epoch == plan.epoch:
            return plan
        plan = self.make(exchange_name, key)
        if self.traced:
            plan.targets = None
        if plan.guard is not UNGUARDED:
            self.remember(arguments, plan)
        return plan

    def try_find(self, arguments: bytes, exchange_name: str, key: str) -> Plan | None:
        """The same, None where that would raise."""
        try:
            return self.find(arguments, exchange_name, key)
        except AmqpError:
            return None

    def remember(self, arguments: bytes, plan: Plan) -> None:
        if arguments not in self.once:
            if len(self.once) >= PLANS_MAX:
                self.once.clear()
            self.once.add(arguments)
            return
        if len(self.known) >= PLANS_MAX:
            for old in list(self.known)[: PLANS_MAX // 2]:
                del self.known[old]
        self.known.pop(arguments, None)
        self.known[arguments] = plan

    def make(self, exchange_name: str, key: str) -> Plan:
        entrance = self.entrances.get(exchange_name)
        if entrance is None or entrance.exchange.epoch != entrance.epoch:
            self.check_write(exchange_name or DEFAULT_EXCHANGE_ALIAS)
            if not exchange_name:
                return self.make_default(key, b"\x00" + shortstr(key))
            entrance = self.entrances[exchange_name] = self.enter(exchange_name)
        exchange, _, depends, name = entrance
        require_topic(self.access, self.user, self.vhost.name, "write", exchange, key)
        fields = name + shortstr(key)
        if depends is not Depends.KEY:
            return Plan(exchange, key, fields, exchange, None)
        targets = routing.route(exchange, (key,), {}, self.vhost.exchanges, self.vhost.queues)
        return Plan(exchange, key, fields, exchange, targets)

    def enter(self, exchange_name: str) -> Entrance:
        vhost = self.vhost
        exchange = vhost.exchanges.get(exchange_name)
        if exchange is None:
            raise NotFound(f"no {exchange_resource(exchange_name, vhost.name)}")
        if exchange.internal:
            raise AccessRefused(f"cannot publish to internal {exchange_resource(exchange_name, vhost.name)}")
        depends = routing.depends(exchange, vhost.exchanges)
        return Entrance(exchange, exchange.epoch, depends, shortstr(exchange_name))

    def check_write(self, exchange_name: str) -> None:
        if not self.access.allows(self.user, self.vhost.name, "write", exchange_name):
            resource = exchange_resource(exchange_name, self.vhost.name)
            raise AccessRefused(f"write access to {resource} refused for user '{self.user}'")

    def make_default(self, key: str, fields: bytes) -> Plan:
        queue = self.vhost.queues.get(key)
        if queue is not None:
            return Plan(None, key, fields, queue, (queue,))
        if key.startswith(REPLY_TO_PREFIX):
            reply = self.replies.get(key)
            return Plan(None, key, fields, UNGUARDED, (reply,) if reply else ())
        return Plan(None, key, fields, UNGUARDED, ())

    def check_copies(self, exchange: Exchange, keys: Sequence[str]) -> None:
        """Raises AccessRefused for a further key that the user may not write to."""
        for key in keys:
            require_topic(self.access, self.user, self.vhost.name, "write", exchange, key)

    def route(self, plan: Plan, keys: Sequence[str], headers: Table, props: bytes) -> Sequence[Target]:
        """The targets of one message that has to be asked: by its properties, or for its CC and BCC keys too.

        Raises AccessRefused for a further key that the user may not write to.
        """
        if plan.exchange is not None:
            self.check_copies(plan.exchange, keys[1:])
            return routing.route(plan.exchange, keys, headers, self.vhost.exchanges, self.vhost.queues, props)
        targets: dict[Target, None] = {}
        for key in keys:
            target = self.vhost.queues.get(key) or self.replies.get(key)
            if target is not None:
                targets[target] = None
        return tuple(targets)
