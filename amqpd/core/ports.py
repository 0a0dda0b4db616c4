"""The narrow doors between rooms that may not import each other; `node` connects them.

`core` says here what it needs of the disk (Journal, Catalog), of the user database (Authenticator, Access) and of the
loop (the callables named in the constructors). `storage`, `auth` and `server` provide it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias

from amqpd.core.message import Message

if TYPE_CHECKING:
    from amqpd.core.queues.queue import Queue

__all__ = [
    "Access",
    "Authenticator",
    "BindingRow",
    "Block",
    "Burial",
    "Catalog",
    "Change",
    "Commit",
    "Committed",
    "ExchangeRow",
    "GlobalParameterRow",
    "Identity",
    "Journal",
    "LoginRefused",
    "ParameterRow",
    "PermissionRow",
    "QueueRow",
    "Recovered",
    "Row",
    "Snapshot",
    "StreamLog",
    "Streams",
    "Stuck",
    "TopicPermissionRow",
    "UserRow",
    "VHostRow",
]


# ---------------------------------------------------------------------------------------------------- journal


class Commit(Protocol):
    """A group of records that becomes durable at once: the batch that is growing, then in flight, then committed."""

    def weigh(self, messages: int, octets: int) -> bool:
        """A client has put so many messages with so many octets in. True: that is as much as the batch should hold, and
        the client should put nothing in until `when_room` calls. Nothing is refused to one that does."""

    def when_room(self, call: Callable[[], None]) -> None:
        """`call()` on the loop's thread once another batch grows, and it is the turn of who asked."""

    def when_committed(self, call: Callable[[], None]) -> None:
        """`call()` on the loop's thread once the commit is durable. Never called if it never is."""


class Journal(Protocol):
    """What is written about messages in durable queues. No call here touches a file.

    The same tuple may be enqueued once, to all of its durable queues. Message ids ascend from one enqueue to the next.
    """

    def enqueue(self, messages: list[Message], queues: Sequence[int], priority: int = 0) -> Commit:
        """The messages, which have routing and origin in common, now lie in these queues (catalog ids). The list and
        the sequence are kept: they must not change afterwards."""

    def settle(self, queue: int, message_ids: Sequence[int]) -> None:
        """The messages have been acked, rejected or delivered without ack: they no longer lie in the queue."""

    def drop(self, queue: int, message_ids: Sequence[int], reason: int) -> None:
        """The messages left the queue unconsumed: DROP_* below says why."""

    def returned(self, queue: int, message_id: int, count: int) -> None:
        """The message came back to the queue; `count` is what core/queues/counts packs into a number."""

    def forget_queue(self, queue: int) -> None:
        """The queue is gone from the catalog, its deletion committed: its records are garbage. Nothing is written."""

    def group(self, records: Callable[[], None]) -> Commit:
        """All that `records()` writes becomes durable at once or not at all; the commit that completes it."""

    def hand_over(self) -> None:
        """The turn's step 2: if no append is in flight, give what has grown to the engine."""


DELAYED = 0
"""The queue in which the journal has delayed messages. No queue of the catalog has this id (see core/delayed)."""

DROP_PURGED = 1
DROP_EXPIRED = 2
DROP_MAXLEN = 3
DROP_REJECTED = 4
DROP_DELIVERY_LIMIT = 5


Stuck: TypeAlias = tuple[Message, int, frozenset[str]]
"""A dead letter that is kept: the message, why it died (DROP_*), the queues that have it already."""


class Burial(Protocol):
    """Where messages go that a queue with a dead-letter exchange gives up, and queues that nobody uses."""

    def add(self, queue: Queue, message: Message, reason: int) -> None:
        """The message has left the queue for this reason; that is still to be written down."""

    def unused(self, queue: Queue) -> None:
        """The queue has not been used for as long as it promised to wait: it is to be deleted."""


class Recovered(NamedTuple):
    """A message that was found in the journal: the count of its last return (see core/queues/counts), 0 if there was
    none; `redelivered` goes out with it."""

    message: Message
    redelivered: bool
    deliveries: int


# ---------------------------------------------------------------------------------------------------- streams


class Block(NamedTuple):
    """Consecutive messages of a stream as they were read. `place` is where they end, for whoever reads on."""

    messages: list[Message]
    place: object


class StreamLog(Protocol):
    """The log of one stream. No call here touches a file, and every `done` is called on the loop's thread.

    A message's id is here its offset in the stream + 1; its deadline is 0.
    """

    @property
    def damaged(self) -> bool:
        """Is it closed, because what was durable cannot be read? Then it can only be deleted."""

    @property
    def first(self) -> int:
        """The offset of the oldest message that is kept."""

    @property
    def next(self) -> int:
        """The offset that follows that of the last durable message."""

    def append(self, messages: list[Message]) -> Commit:
        """Messages with routing and origin in common, at the end. The list is kept: it must not change afterwards."""

    def hand_over(self) -> None:
        """If no append is in flight, give what has grown to the disk."""

    def read(self, offset: int, place: object | None, done: Callable[[Block | Exception], None]) -> None:
        """Durable messages from this offset on, some hundred KB of them; there is at least one. `place` is that of the
        block that ended before the offset, None: look for it. What was cut off is passed over."""

    def find(self, clock: int, done: Callable[[int | Exception], None]) -> None:
        """The offset of the first messages that became durable at this wall clock in milliseconds, or later."""

    def keep(self, max_age: int | None, max_octets: int | None, segment_octets: int | None) -> None:
        """What may be cut off at the head, whole segments at a time, but never the last one: what is older than so many
        milliseconds, and what makes the log larger. A segment is full at so many octets (None: as the log likes)."""

    def track(self, offsets: dict[str, int]) -> None:
        """Keep the position of these consumers, by tag. A crash may leave those of a call before."""

    def tracked(self) -> dict[str, int]:
        """The positions that were kept when the log was opened."""

    def delete(self) -> None:
        """The stream is gone: remove all there is of it, once what has been appended is durable."""


class Streams(Protocol):
    """The logs of all streams."""

    def open(self, queue: int) -> StreamLog:
        """The log of the stream with this catalog id, new if there is none. It is opened once."""


# ---------------------------------------------------------------------------------------------------- catalog


class VHostRow(NamedTuple):
    """A virtual host and its metadata; `default_queue_type` is empty where the node's own is to hold."""

    name: str
    description: str = ""
    tags: tuple[str, ...] = ()
    default_queue_type: str = ""
    protected_from_deletion: bool = False
    tracing: bool = False


class UserRow(NamedTuple):
    """A user as RabbitMQ's definitions carry one; `password_hash` is salt + digest, empty: no password login.

    `limits` are (name, number) pairs: "max-connections", "max-channels"; a negative number is no limit.
    """

    name: str
    password_hash: bytes
    hashing_algorithm: str
    tags: tuple[str, ...] = ()
    limits: tuple[tuple[str, int], ...] = ()


class PermissionRow(NamedTuple):
    user: str
    vhost: str
    configure: str
    write: str
    read: str


class TopicPermissionRow(NamedTuple):
    """What a user may publish to a topic exchange, and bind to it, by routing key. Without a row: everything."""

    user: str
    vhost: str
    exchange: str
    write: str
    read: str


class ParameterRow(NamedTuple):
    """A runtime parameter: a value of a component, in JSON. Policies and the limits of virtual hosts are some."""

    vhost: str
    component: str
    name: str
    value: str


class GlobalParameterRow(NamedTuple):
    """A runtime parameter of no virtual host, in JSON."""

    name: str
    value: str


class ExchangeRow(NamedTuple):
    """A durable exchange; `arguments` as an encoded field table (its length included)."""

    vhost: str
    name: str
    kind: str
    auto_delete: bool
    internal: bool
    arguments: bytes


class QueueRow(NamedTuple):
    """A durable queue; `id` is never used again, which makes the journal records of a deleted queue garbage."""

    id: int
    vhost: str
    name: str
    auto_delete: bool
    arguments: bytes


class BindingRow(NamedTuple):
    """A binding between durable ends; `destination_kind` is "queue" or "exchange"."""

    vhost: str
    source: str
    destination_kind: str
    destination: str
    routing_key: str
    arguments: bytes


Row: TypeAlias = (
    VHostRow
    | UserRow
    | PermissionRow
    | TopicPermissionRow
    | ParameterRow
    | GlobalParameterRow
    | ExchangeRow
    | QueueRow
    | BindingRow
)


class Change(NamedTuple):
    """One change of the catalog. A put replaces the row with the same key; a drop reads only the key's fields.

    Dropping a vhost drops all that is in it and all permissions in it, a user its permissions, an exchange or queue the
    bindings that start or end there.
    """

    put: bool
    row: Row


class Snapshot(NamedTuple):
    """All that the catalog holds, in insertion order; `next_queue_id` is above every id ever given."""

    vhosts: list[VHostRow]
    users: list[UserRow]
    permissions: list[PermissionRow]
    exchanges: list[ExchangeRow]
    queues: list[QueueRow]
    bindings: list[BindingRow]
    next_queue_id: int
    topic_permissions: Sequence[TopicPermissionRow] = ()
    parameters: Sequence[ParameterRow] = ()
    global_parameters: Sequence[GlobalParameterRow] = ()


Committed: TypeAlias = Callable[[Exception | None], None]


class Catalog(Protocol):
    """The durable truth of what exists. Changes that arrive while a commit runs share the next one."""

    def load(self) -> Snapshot:
        """What is there; called once, before the first submit."""

    def submit(self, changes: Sequence[Change], done: Committed) -> None:
        """Write the changes, in order with all others, in one transaction; `done(None)` on the loop's thread after the
        commit, `done(error)` when it failed (nothing of it was written)."""

    def close(self) -> None:
        """Wait for the commits that are under way, then close."""


# ------------------------------------------------------------------------------------------------------- auth


class LoginRefused(Exception):
    """The credentials were refused; the text is for the log, never for the client.

    `malformed` tells a response that could not be read from one that was read and refused.
    """

    def __init__(self, reason: str, user: str = "", malformed: bool = False) -> None:
        super().__init__(reason)
        self.user = user
        self.malformed = malformed


class Identity(NamedTuple):
    """Who has logged in."""

    user: str
    tags: frozenset[str]


class Authenticator(Protocol):
    """Says who the peer is. Mechanisms as SASL names, in the order they are offered."""

    def mechanisms(self) -> Sequence[str]: ...

    def login(self, mechanism: str, response: bytes, loopback: bool) -> Identity:
        """Raises LoginRefused; KeyError for a mechanism that is not offered."""


class Access(Protocol):
    """What a user may do. `permission` is "configure", "write" or "read"; the default exchange is "amq.default"."""

    def may_enter(self, user: str, vhost: str) -> bool: ...

    def allows(self, user: str, vhost: str, permission: str, resource: str) -> bool: ...

    def allows_topic(self, user: str, vhost: str, permission: str, exchange: str, routing_key: str) -> bool:
        """The same for one routing key of a topic exchange: "write" to publish, "read" to bind."""

    def tags(self, user: str) -> frozenset[str]: ...

    def limit(self, user: str, name: str) -> int | None:
        """The user's "max-connections" or "max-channels"; None: no such limit."""
