"""The number that stands for a key where types choose by hash: the same on every start, machine and interpreter.

Python's own hash() differs from process to process. BLAKE2b spreads whatever clients use as keys (small numbers, names
with a common beginning) evenly over 64 bits; RabbitMQ uses Erlang's phash2, whose choices we do not reproduce.
"""

from __future__ import annotations

from hashlib import blake2b

__all__ = ["number"]


def number(data: bytes) -> int:
    """64 bits that depend on all of the data."""
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "big")
