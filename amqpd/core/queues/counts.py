"""How often a message was handed out in vain: two counts, and a verdict, in the one number that travels with it.

      31      29 28             16 15              0
    +-----------+-----------------+-----------------+
    | condemned |     failed      |    acquired     |
    +-----------+-----------------+-----------------+

    acquired    it came back, for whatever reason
    failed      it came back because its consumer rejected it or went away: this is what a delivery limit counts. A nack
                and a consumer's timeout are returns, not failures
    condemned   0, or the reason (DROP_*) for which it is to be dead-lettered, in a queue that keeps it until it is

The number is what the journal writes of a return, so it has 32 bits; the counts stop at their largest values. Source:
RabbitMQ 4.3, Quorum Queues, "When is delivery count incremented?".
"""

from __future__ import annotations

__all__ = ["acquired", "again", "condemn", "condemned", "failed"]

ACQUIRED = 0xFFFF
FAILED_AT, FAILED = 16, 0x1FFF
CONDEMNED_AT = 29


def acquired(count: int) -> int:
    """How often the message came back."""
    return count & ACQUIRED


def failed(count: int) -> int:
    """How often it came back as a failure."""
    return count >> FAILED_AT & FAILED


def again(count: int, failure: bool) -> int:
    """The number when it has come back once more."""
    times, failures = acquired(count), failed(count)
    return min(times + 1, ACQUIRED) | min(failures + failure, FAILED) << FAILED_AT


def condemn(count: int, reason: int) -> int:
    """The number of a message that is to be dead-lettered for this reason."""
    return count | reason << CONDEMNED_AT


def condemned(count: int) -> int:
    """The reason why it is to be dead-lettered, 0 if it is not."""
    return count >> CONDEMNED_AT
