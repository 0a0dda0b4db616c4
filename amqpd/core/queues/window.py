"""The window of a queue: its messages that were never delivered, in the order in which they are to be.

Where the queue has priorities the window has a row for each that was used, and the highest is served first; within a
row the order is that of arrival. A message without a priority has 0, one above the queue's maximum has the maximum.
`order` gives every message its order key, by which requeued messages find their old place.

A quorum queue always has the priorities 0 to 31, a message without one has 4, and what is returned keeps no place: it
goes before everything else, the first to come back first. Source: RabbitMQ, Classic Queues Support Priority; Quorum
Queues (of 4.3; 4.0 to 4.2 had two levels, of which the higher got two turns in three).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import chain

from amqpd.core.message import Message, has_priority, props_of
from amqpd.core.promises import Promises
from amqpd.wire import properties

__all__ = ["PriorityWindow", "Window", "window_for"]

ID_BITS = 64

QUORUM_HIGHEST = 31
QUORUM_DEFAULT = 4
"""Of a quorum queue: its highest priority, and that of a message that has none."""

FIRST_RETURN = -1 << ID_BITS
"""Below every order key of a message that did not come back."""


class Window(deque[Message]):
    """Messages in order of arrival."""

    __slots__ = ()

    def order(self, message: Message) -> int:
        """The order key: its id."""
        return message[0]

    def returning(self, message: Message) -> int:
        """The order key of a message that comes back: that of its old place."""
        return self.order(message)

    def rows_of_messages(self) -> list[deque[Message]]:
        """What the messages lie in."""
        return [self]


class PriorityWindow(Window):
    """Messages by priority, 0 to `highest`."""

    __slots__ = ("highest", "rows", "size")

    def __init__(self, highest: int) -> None:
        super().__init__()
        self.highest = highest
        self.rows: dict[int, deque[Message]] = {}
        """By priority, the highest first; rows stay when they are empty."""
        self.size = 0

    def priority(self, message: Message) -> int:
        return min(properties.facts(props_of(message)).priority, self.highest)

    def order(self, message: Message) -> int:
        """The order key: higher priorities before lower ones, then the id."""
        return self.highest - self.priority(message) << ID_BITS | message[0]

    def rows_of_messages(self) -> list[deque[Message]]:
        return list(self.rows.values())

    def append(self, message: Message) -> None:
        priority = self.priority(message)
        row = self.rows.get(priority)
        if row is None:
            self.rows[priority] = row = deque()
            self.rows = dict(sorted(self.rows.items(), reverse=True))
        row.append(message)
        self.size += 1

    def extend(self, messages: Iterable[Message]) -> None:
        for message in messages:
            self.append(message)

    def popleft(self) -> Message:
        for row in self.rows.values():
            if row:
                self.size -= 1
                return row.popleft()
        raise IndexError("the window is empty")

    def clear(self) -> None:
        self.rows.clear()
        self.size = 0

    def __iter__(self) -> Iterator[Message]:
        return chain.from_iterable(self.rows.values())

    def __getitem__(self, index: int) -> Message:  # type: ignore[override]
        """Only the first is asked for."""
        assert index == 0
        return next(iter(self))

    def __len__(self) -> int:
        return self.size

    def __bool__(self) -> bool:
        return self.size > 0


class QuorumWindow(PriorityWindow):
    """The window of a quorum queue: messages by priority, and what comes back before all of them, in the order in which
    it came back."""

    __slots__ = ("number",)

    def __init__(self) -> None:
        super().__init__(QUORUM_HIGHEST)
        self.number = FIRST_RETURN

    def priority(self, message: Message) -> int:
        return super().priority(message) if has_priority(message) else QUORUM_DEFAULT

    def returning(self, message: Message) -> int:
        self.number += 1
        return self.number


def window_for(promises: Promises, kind: str) -> Window:
    """The window of a queue of this type that promises this."""
    if kind == "quorum":
        return QuorumWindow()
    return PriorityWindow(promises.max_priority) if promises.max_priority else Window()
