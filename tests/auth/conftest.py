"""A user store over a catalog in memory whose commits the test can hold back."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from amqpd.auth.access import InternalAccess
from amqpd.auth.users import UserStore
from amqpd.core.ports import Change, Committed, Snapshot
from amqpd.errors import AmqpError

EMPTY = Snapshot([], [], [], [], [], [], 1)


class HeldCatalog:
    """Commits at once, or, while `hold` is set, when the test says so."""

    def __init__(self) -> None:
        self.hold = False
        self.waiting: list[Committed] = []
        self.written: list[list[Change]] = []

    def load(self) -> Snapshot:
        return EMPTY

    def submit(self, changes: Sequence[Change], done: Committed) -> None:
        self.written.append(list(changes))
        self.waiting.append(done)
        if not self.hold:
            self.settle()

    def settle(self, error: Exception | None = None, at: int = 0) -> None:
        """End a commit that waits, the oldest unless another is meant."""
        self.waiting.pop(at)(error)

    def close(self) -> None:
        assert not self.waiting


class Outcomes(list[AmqpError | None]):
    """How operations ended, in order; pass it as `done`."""

    def __call__(self, outcome: AmqpError | None) -> None:
        self.append(outcome)


@pytest.fixture
def catalog() -> HeldCatalog:
    return HeldCatalog()


@pytest.fixture
def vhosts() -> set[str]:
    return {"/", "other"}


@pytest.fixture
def make_store(catalog: HeldCatalog, vhosts: set[str]) -> Callable[..., UserStore]:
    def make(snapshot: Snapshot = EMPTY, **options: str) -> UserStore:
        return UserStore(snapshot, catalog, vhosts.__contains__, **options)

    return make


@pytest.fixture
def users(make_store: Callable[..., UserStore]) -> UserStore:
    return make_store()


@pytest.fixture
def access(users: UserStore) -> InternalAccess:
    return InternalAccess(users)


@pytest.fixture
def done() -> Outcomes:
    return Outcomes()
