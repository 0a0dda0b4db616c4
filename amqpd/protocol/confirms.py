"""Publisher confirms of one channel: which publishes are still open, and what can be said about the front of them.

Publishes are numbered from 1. What was accepted without a durable promise is confirmed in the same turn; what waits for
commits is kept in runs of consecutive publishes that wait for the same ones, so that a thousand publishes in one batch
are one entry. A run waits for a number of commits: one per log it was written to.

An ack with multiple=true goes out only over a prefix in which nothing is open or refused; a refused publish is nacked
by itself. Source: RabbitMQ's rabbit_channel and unconfirmed_messages; design of confirms over several logs.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from amqpd.core.ports import Commit
from amqpd.wire import outgoing

__all__ = ["Confirms"]


class Run:
    """Consecutive publishes up to `last` that wait for the same commits: `open` of them are still to come."""

    __slots__ = ("commits", "confirms", "last", "open", "refused")

    def __init__(self, confirms: Confirms, last: int, commits: Sequence[Commit], refused: bool) -> None:
        self.confirms = confirms
        self.last = last
        self.commits: Sequence[Commit] | None = commits
        self.open = len(commits)
        self.refused = refused

    def committed(self) -> None:
        """One of the commits has come in."""
        self.open -= 1
        if not self.open:
            self.commits = None
            self.confirms.note()


class Confirms:
    """The confirm mode of a channel. `send` puts bytes into the outbox; `note_turn` asks for a flush in the turn."""

    __slots__ = ("closed", "confirmed", "last", "note_turn", "noted", "number", "runs", "send")

    def __init__(self, number: int, send: Callable[[bytes], None], note_turn: Callable[[Confirms], None]) -> None:
        self.number = number
        self.send = send
        self.note_turn = note_turn
        self.last = 0
        """The number of the last publish."""
        self.confirmed = 0
        """Everything up to here has been answered."""
        self.runs: deque[Run] = deque()
        self.noted = False
        self.closed = False
        """The channel is over: commits may still come in, but there is nobody to tell."""

    @property
    def unconfirmed(self) -> int:
        """Publishes that are not answered yet."""
        return self.last - self.confirmed

    def note(self) -> None:
        """Something can be said in this turn."""
        if not self.noted:
            self.noted = True
            self.note_turn(self)

    def accepted(self, count: int, commit: Commit | None) -> None:
        """The next publishes were taken; they are safe once the commit, if there is one, has come in."""
        self.last += count
        if commit is not None:
            runs = self.runs
            if runs:
                run = runs[-1]
                commits = run.commits
                if commits is not None and len(commits) == 1 and commits[0] is commit and not run.refused:
                    run.last = self.last
                    return
            self.open_run((commit,))
        else:
            if self.runs:
                self.open_run(())
            if not self.noted:
                self.note()

    def accepted_by(self, commits: Sequence[Commit]) -> None:
        """The next publish was taken and was written to several logs: it is safe when all these have come in."""
        self.last += 1
        self.open_run(commits)

    def partly_accepted(self, refused: Sequence[bool], commit: Commit | None) -> None:
        """The next publishes, of which some were refused."""
        for each in refused:
            if each:
                self.refused()
            else:
                self.accepted(1, commit)

    def refused(self) -> None:
        """The next publish was refused by a queue: it will be nacked."""
        self.last += 1
        self.runs.append(Run(self, self.last, (), True))
        self.note()

    def open_run(self, commits: Sequence[Commit]) -> None:
        runs = self.runs
        if not commits and runs and not runs[-1].open and not runs[-1].refused:
            runs[-1].last = self.last
            return
        run = Run(self, self.last, commits, False)
        runs.append(run)
        for commit in commits:
            commit.when_committed(run.committed)

    def flush(self) -> None:
        """Answer the prefix about which all is known."""
        self.noted = False
        if self.closed:
            return
        runs = self.runs
        upto = self.confirmed
        while runs and not runs[0].open:
            run = runs.popleft()
            if run.refused:
                self.acknowledge(run.last - 1)
                self.send(outgoing.nack(self.number, run.last))
                self.confirmed = upto = run.last
            else:
                upto = run.last
        if not runs:
            upto = self.last
        self.acknowledge(upto)

    def acknowledge(self, upto: int) -> None:
        if upto > self.confirmed:
            self.send(outgoing.ack(self.number, upto, upto - self.confirmed > 1))
            self.confirmed = upto
