"""A loop's thread for tests of storage: what the other threads deliver is called when the test says so."""

from __future__ import annotations

from collections.abc import Callable
from queue import SimpleQueue

import pytest


class Loop:
    """`deliver` for the threads; the test runs what they deliver until something has come true."""

    def __init__(self) -> None:
        self.calls: SimpleQueue[Callable[[], object]] = SimpleQueue()
        self.deliver = self.calls.put
        self.failures: list[Exception] = []

    def run_until(self, condition: Callable[[], object]) -> None:
        while not condition():
            self.calls.get(timeout=30)()


@pytest.fixture
def loop() -> Loop:
    return Loop()
