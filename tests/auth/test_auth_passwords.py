"""RabbitMQ's own hashes verify, and nothing else does."""

from __future__ import annotations

import base64
import hashlib

import pytest

from amqpd.auth.passwords import ALGORITHMS, MD5, SHA256, SHA512, hash_password, verify

DOCUMENTED = "kI3GCqW5JLMJa4iX1lo7X4D6XbYqlLgxIs30+P6tENUV2POR"
FOREIGN = "27cx5+wEi8R8uwTeTr3hk5azuV3yYxxAtwPPhCyrbdsxVhqq"


def test_the_documented_hash() -> None:
    assert hash_password(b"test12", SHA256, bytes.fromhex("908DC60A")) == base64.b64decode(DOCUMENTED)


@pytest.mark.parametrize(("password", "stored"), [(b"test12", DOCUMENTED), (b"foobarbaz", FOREIGN)])
def test_hashes_of_rabbitmq_verify(password: bytes, stored: str) -> None:
    assert verify(password, base64.b64decode(stored), SHA256)
    assert not verify(password + b"x", base64.b64decode(stored), SHA256)
    assert not verify(password, base64.b64decode(stored), SHA512)


@pytest.mark.parametrize(
    ("algorithm", "name", "size"), [(SHA256, "sha256", 36), (SHA512, "sha512", 68), (MD5, "md5", 20)]
)
def test_each_algorithm_is_salt_and_digest(algorithm: str, name: str, size: int) -> None:
    stored = hash_password(b"secret", algorithm)
    assert len(stored) == size
    assert stored[4:] == hashlib.new(name, stored[:4] + b"secret").digest()
    assert verify(b"secret", stored, algorithm)
    assert not verify(b"Secret", stored, algorithm)


def test_salts_differ() -> None:
    assert len({hash_password(b"same") for _ in range(20)}) > 1


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_blank_password_never_verifies(algorithm: str) -> None:
    assert not verify(b"", hash_password(b"", algorithm), algorithm)
    assert not verify(b"", b"", algorithm)


@pytest.mark.parametrize("size", [0, 1, 4, 35])
def test_nothing_verifies_against_a_hash_cut_short(size: int) -> None:
    assert not verify(b"secret", hash_password(b"secret")[:size], SHA256)


def test_a_salt_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="4 octets"):
        hash_password(b"secret", SHA256, b"12345")
