"""A commit over several logs: what a message waits for that went into a stream and into classic queues."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from amqpd.core.ports import Commit

__all__ = ["Commits", "Joined"]


class Joined:
    """The Commit that is durable when all of these are."""

    def __init__(self, commits: Sequence[Commit]) -> None:
        self.commits = commits
        self.open = len(commits)
        self.waiters: list[Callable[[], None]] = []
        for commit in commits:
            commit.when_committed(self.committed)

    def committed(self) -> None:
        """One of them is durable."""
        self.open -= 1
        if not self.open:
            waiters, self.waiters = self.waiters, []
            for call in waiters:
                call()

    def weigh(self, messages: int, octets: int) -> bool:
        """Each log has been given so much; True when that is enough for any of them."""
        return any([commit.weigh(messages, octets) for commit in self.commits])

    def when_room(self, call: Callable[[], None]) -> None:
        """`call()` once all of them have been handed over and it is the turn of who asked."""
        missing = len(self.commits)

        def one() -> None:
            nonlocal missing
            missing -= 1
            if not missing:
                call()

        for commit in self.commits:
            commit.when_room(one)

    def when_committed(self, call: Callable[[], None]) -> None:
        """`call()` once all of them are durable."""
        if self.open:
            self.waiters.append(call)
        else:
            call()


class Commits:
    """Makes one commit of several; the same one for the same, so that consecutive publishes share it."""

    def __init__(self) -> None:
        self.last: Joined | None = None

    def join(self, commits: Sequence[Commit]) -> Commit | None:
        """The commit that stands for all these; None for none."""
        if len(commits) < 2:
            return commits[0] if commits else None
        last = self.last
        if last is None or not last.open or last.commits != commits:
            self.last = last = Joined(commits)
        return last
