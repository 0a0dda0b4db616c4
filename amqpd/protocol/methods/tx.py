"""Class tx: publishes and settlements of a channel that take effect at commit.

A publish is checked and routed at once and kept; at commit all are enqueued and then the settlements are done, as one
group of the journal, and commit-ok waits for its commit and for those of streams, which have logs of their own.
Rollback drops the publishes and puts the settled deliveries back among the unsettled, not into their queues. A queue
that refuses a publish undoes nothing: the others stay, and the channel is closed instead of commit-ok. Source:
RabbitMQ, "Broker Semantics"; rabbit_channel.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

from amqpd.core.operations import Done
from amqpd.core.plan import Plan, Target, durable_ids
from amqpd.core.queues.ledger import Run
from amqpd.core.queues.stream import Stream
from amqpd.errors import PreconditionFailed
from amqpd.wire import methods
from amqpd.wire.methods import commands
from amqpd.wire.outgoing import Content

if TYPE_CHECKING:
    from amqpd.protocol.channel import Channel

__all__ = ["Transaction", "tx_commit", "tx_rollback", "tx_select"]


class Publish(NamedTuple):
    """A publish that waits for the commit."""

    mandatory: bool
    routing: bytes
    targets: Sequence[Target]
    persistent: bool
    content: Content
    origin: int
    ttl: int | None


class Refusal(NamedTuple):
    """A nack or reject that waits for the commit."""

    runs: list[Run]
    requeue: bool
    failed: bool


class Transaction:
    """What a channel in tx mode has gathered since the last commit or rollback."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.publishes: list[Publish] = []
        self.acked: list[Run] = []
        self.refusals: list[Refusal] = []
        self.partial = False
        """Has a queue refused a publish of a commit?"""
        self.streams: dict[Stream, None] = {}
        """Those that a commit has published to: each has a log of its own."""

    @property
    def settling(self) -> int:
        """Deliveries whose settlement waits for the commit."""
        runs = chain(self.acked, *(refusal.runs for refusal in self.refusals))
        return sum(len(run.messages) for run in runs)

    def publish(
        self,
        mandatory: bool,
        plan: Plan,
        targets: Sequence[Target],
        persistent: bool,
        content: Content,
        origin: int,
        ttl: int | None,
    ) -> None:
        """Keep a publish that has been checked and routed."""
        self.publishes.append(Publish(mandatory, plan.routing, targets, persistent, content, origin, ttl))

    def ack(self, runs: list[Run]) -> None:
        """Keep an ack."""
        self.acked += runs

    def refused(self, runs: list[Run], requeue: bool, failed: bool) -> None:
        """Keep a nack or reject."""
        self.refusals.append(Refusal(runs, requeue, failed))

    def apply(self) -> None:
        """Do all that was kept."""
        publishes, self.publishes = self.publishes, []
        acked, self.acked = self.acked, []
        refusals, self.refusals = self.refusals, []
        channel = self.channel
        for item in publishes:
            targets = [target for target in item.targets if target.alive]
            self.streams.update((target, None) for target in targets if isinstance(target, Stream))
            taken = channel.take(
                channel,
                item.mandatory,
                item.routing,
                targets,
                durable_ids(targets),
                item.persistent,
                item.content,
                item.origin,
                item.ttl,
            )
            self.partial = self.partial or not taken
        channel.settle(acked)
        for runs, requeue, failed in refusals:
            if requeue:
                channel.requeue(runs, failed=failed)
            else:
                channel.reject(runs)

    def rollback(self) -> None:
        """Forget what was kept."""
        self.publishes.clear()
        runs = [*self.acked, *chain.from_iterable(refusal.runs for refusal in self.refusals)]
        self.acked = []
        self.refusals = []
        self.channel.ledger.restore(runs)


def tx_select(channel: Channel, method: Any) -> None:
    """Publishes and settlements wait for commit from now on."""
    if channel.confirms is not None:
        raise PreconditionFailed("cannot switch from confirm to tx mode")
    if channel.transaction is None:
        channel.transaction = Transaction(channel)
        channel.lane = False
    channel.session.send_method(channel.number, methods.build(commands.Tx.SelectOk))


def transaction_of(channel: Channel) -> Transaction:
    if channel.transaction is None:
        raise PreconditionFailed("channel is not transactional")
    return channel.transaction


def tx_commit(channel: Channel, method: Any) -> None:
    """Do what was kept; the answer comes when it is safe."""
    transaction = transaction_of(channel)

    def commit(done: Done[None]) -> None:
        def committed() -> None:
            done(PreconditionFailed("partial tx completion") if transaction.partial else None)

        commits = [channel.broker.journal.group(transaction.apply)]
        commits += [stream.commit for stream in transaction.streams if stream.commit is not None]
        transaction.streams.clear()
        commit = channel.broker.commits.join(commits)
        assert commit is not None
        commit.when_committed(committed)
        channel.broker.turn.arm()

    channel.perform(
        commit,
        lambda _: channel.session.send_method(channel.number, methods.build(commands.Tx.CommitOk)),
        method,
    )


def tx_rollback(channel: Channel, method: Any) -> None:
    """Forget what was kept."""
    transaction_of(channel).rollback()
    channel.session.send_method(channel.number, methods.build(commands.Tx.RollbackOk))
