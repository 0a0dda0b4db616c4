"""The one thread that touches the files of all logs: it does its jobs in the order in which they came."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from threading import Thread
from typing import TypeAlias, TypeVar

__all__ = ["Committer", "Deliver"]

Result = TypeVar("Result")

Deliver: TypeAlias = Callable[[Callable[[], object]], object]
"""Has the callable called on the loop's thread, like call_soon_threadsafe."""


class Committer:
    """The thread; it runs until `close`."""

    def __init__(self, deliver: Deliver, name: str) -> None:
        self.deliver = deliver
        self.jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self.thread = Thread(target=self.run, name=name, daemon=True)
        self.thread.start()

    def run(self) -> None:
        while (job := self.jobs.get()) is not None:
            job()

    def submit(self, work: Callable[[], Result], done: Callable[[Result | Exception], None]) -> None:
        """Have the work done, then `done(result)` or `done(error)` on the loop's thread."""

        def job() -> None:
            outcome: Result | Exception
            try:
                outcome = work()
            except Exception as error:
                outcome = error
            self.deliver(partial(done, outcome))

        self.jobs.put(job)

    def wait_for(self, work: Callable[[], Result]) -> Result:
        """Have the work done after all that came before it, and wait for it. Raises what the work raises."""
        answer: SimpleQueue[Result | Exception] = SimpleQueue()

        def job() -> None:
            try:
                answer.put(work())
            except Exception as error:
                answer.put(error)

        self.jobs.put(job)
        outcome = answer.get()
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def close(self) -> None:
        """End the thread when it has done what it was given."""
        self.jobs.put(None)
        self.thread.join()
