"""topic: binding keys are patterns over the words of the routing key.

Words are separated by dots and may be empty: `a..b` has three, `.` two. The empty key alone has none. `*` stands for
exactly one word, `#` for any number, none included. Binding keys are kept as a trie of words, so that a route looks
only at patterns that can still match. The walk keeps the set of trie nodes that are reachable after each word, which
makes it linear in the number of nodes touched whatever the pattern: `#.#.#.a` is no worse than its length.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar

from amqpd.core.exchanges.base import Binding, Depends, Destination
from amqpd.wire.tables import Table

__all__ = ["Topic"]


def words(key: str) -> list[str]:
    return key.split(".") if key else []


class Node:
    """A place in the trie: the words that may come next, and the bindings whose pattern ends here."""

    __slots__ = ("bindings", "children", "hash", "repeats", "star")

    def __init__(self, repeats: bool = False) -> None:
        self.repeats = repeats
        """Reached by a #: it may take any further word and stay."""
        self.children: dict[str, Node] = {}
        self.star: Node | None = None
        self.hash: Node | None = None
        self.bindings: dict[Binding, None] = {}

    @property
    def empty(self) -> bool:
        return not (self.children or self.bindings or self.star or self.hash)

    def step(self, word: str, make: bool) -> Node | None:
        """The node that a pattern's next word leads to."""
        if word == "*":
            if self.star is None and make:
                self.star = Node()
            return self.star
        if word == "#":
            if self.hash is None and make:
                self.hash = Node(repeats=True)
            return self.hash
        if word not in self.children and make:
            self.children[word] = Node()
        return self.children.get(word)

    def cut(self, word: str) -> None:
        """Forget the node that this word leads to."""
        if word == "*":
            self.star = None
        elif word == "#":
            self.hash = None
        else:
            del self.children[word]


class Topic:
    """The topic exchange type."""

    name: ClassVar[str] = "topic"
    depends: ClassVar[Depends] = Depends.KEY

    def __init__(self, arguments: Table) -> None:
        self.root = Node()

    def check_binding(self, binding: Binding) -> None:
        """Any binding will do."""

    def bind(self, binding: Binding) -> None:
        node = self.root
        for word in words(binding.routing_key):
            following = node.step(word, make=True)
            assert following is not None
            node = following
        node.bindings[binding] = None

    def unbind(self, binding: Binding) -> None:
        path: list[tuple[Node, str]] = []
        node = self.root
        for word in words(binding.routing_key):
            path.append((node, word))
            following = node.step(word, make=False)
            assert following is not None
            node = following
        del node.bindings[binding]
        while path and node.empty:
            node, word = path.pop()
            node.cut(word)

    def route(self, keys: Sequence[str], headers: Table, props: bytes) -> Sequence[Destination]:
        return [binding.destination for key in keys for node in self.ends(key) for binding in node.bindings]

    def ends(self, key: str) -> Iterable[Node]:
        """The nodes that are reached by all words of the key."""
        reached: dict[Node, None] = {}
        reach(self.root, reached)
        for word in words(key):
            following: dict[Node, None] = {}
            for node in reached:
                if node.repeats:
                    reach(node, following)
                child = node.children.get(word)
                if child is not None:
                    reach(child, following)
                if node.star is not None:
                    reach(node.star, following)
            reached = following
        return reached


def reach(node: Node, reached: dict[Node, None]) -> None:
    """The node is reached, and with it those behind a # that stands for no word."""
    following: Node | None = node
    while following is not None and following not in reached:
        reached[following] = None
        following = following.hash
