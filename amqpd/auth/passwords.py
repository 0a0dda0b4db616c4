"""Salted password hashes exactly as RabbitMQ stores them, so that users move over without a new password.

    stored = salt (4 octets) | H(salt | password)

A single fast hash is weak against someone who has stolen the database; it is kept because definitions files carry these
bytes. An empty `stored` means that there is no password to log in with.

Source: RabbitMQ's rabbit_password and rabbit_password_hashing_*; rabbitmq.com/docs/passwords.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable
from typing import Protocol

__all__ = ["ALGORITHMS", "MD5", "SALT_SIZE", "SHA256", "SHA512", "hash_password", "verify"]


class Digest(Protocol):
    """What hashlib's constructors return, as far as it is needed here."""

    def digest(self) -> bytes: ...


SHA256 = "rabbit_password_hashing_sha256"
SHA512 = "rabbit_password_hashing_sha512"
MD5 = "rabbit_password_hashing_md5"

ALGORITHMS: dict[str, Callable[[bytes], Digest]] = {
    SHA256: hashlib.sha256,
    SHA512: hashlib.sha512,
    MD5: hashlib.md5,
}
"""Every algorithm that a user row may name."""

SALT_SIZE = 4


def hash_password(password: bytes, algorithm: str = SHA256, salt: bytes | None = None) -> bytes:
    """What is stored for this password; without `salt` a random one is taken.

    Raises KeyError for an algorithm that is not in ALGORITHMS, ValueError for a salt of another size.
    """
    if salt is None:
        salt = secrets.token_bytes(SALT_SIZE)
    elif len(salt) != SALT_SIZE:
        raise ValueError(f"a salt has {SALT_SIZE} octets, not {len(salt)}")
    return salt + ALGORITHMS[algorithm](salt + password).digest()


def verify(password: bytes, stored: bytes, algorithm: str) -> bool:
    """Whether the password is the stored one. A blank password never is, nor is any if `stored` is empty or cut short.

    The work is the same for every non-blank password and every `stored`: verifying against b"" is how a login takes as
    long for an unknown user as for a known one. Raises KeyError for an algorithm that is not in ALGORITHMS.
    """
    if not password:
        return False
    salt, expected = stored[:SALT_SIZE], stored[SALT_SIZE:]
    return hmac.compare_digest(ALGORITHMS[algorithm](salt + password).digest(), expected)
