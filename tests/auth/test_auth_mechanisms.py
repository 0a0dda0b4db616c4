"""SASL responses are read as sent by clients; anything else is malformed, never an exception of another kind."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amqpd.auth.mechanisms import MECHANISMS, Credentials, read_amqplain, read_plain
from amqpd.core.ports import LoginRefused


def entry(name: bytes, value: bytes, kind: bytes = b"S") -> bytes:
    return bytes([len(name)]) + name + kind + len(value).to_bytes(4, "big") + value


AMQPLAIN = entry(b"LOGIN", b"guest") + entry(b"PASSWORD", b"s3cret")


@pytest.mark.parametrize(
    ("response", "credentials"),
    [
        (b"\0guest\0s3cret", Credentials("guest", b"s3cret")),
        (b"someone\0guest\0s3cret", Credentials("guest", b"s3cret")),
        (b"\0\0", Credentials("", b"")),
        ("\0jürgen\0gehéim".encode(), Credentials("jürgen", "gehéim".encode())),
        (b"\0guest\0\xff\xfe", Credentials("guest", b"\xff\xfe")),
    ],
)
def test_plain(response: bytes, credentials: Credentials) -> None:
    assert read_plain(response) == credentials


@pytest.mark.parametrize("response", [b"", b"guest", b"guest\0s3cret", b"\0guest\0s3cret\0", b"\0\xff\0s3cret"])
def test_malformed_plain(response: bytes) -> None:
    with pytest.raises(LoginRefused) as caught:
        read_plain(response)
    assert caught.value.malformed


@pytest.mark.parametrize(
    ("response", "credentials"),
    [
        (AMQPLAIN, Credentials("guest", b"s3cret")),
        (entry(b"PASSWORD", b"p") + entry(b"LOGIN", b"u"), Credentials("u", b"p")),
        (AMQPLAIN + b"\x01xt\x01", Credentials("guest", b"s3cret")),
        (entry(b"LOGIN", b"u") + entry(b"PASSWORD", b"\xff"), Credentials("u", b"\xff")),
    ],
)
def test_amqplain(response: bytes, credentials: Credentials) -> None:
    assert read_amqplain(response) == credentials


@pytest.mark.parametrize(
    "response",
    [
        b"",
        b"\0guest\0s3cret",
        entry(b"LOGIN", b"guest"),
        entry(b"PASSWORD", b"s3cret"),
        entry(b"LOGIN", b"\xff") + entry(b"PASSWORD", b"p"),
        entry(b"LOGIN", b"u", b"x") + entry(b"PASSWORD", b"p"),
        b"\x05LOGINI\0\0\0\1" + entry(b"PASSWORD", b"p"),
        *(AMQPLAIN[:size] for size in range(len(AMQPLAIN))),
    ],
)
def test_malformed_amqplain(response: bytes) -> None:
    with pytest.raises(LoginRefused) as caught:
        read_amqplain(response)
    assert caught.value.malformed


def test_a_password_is_not_quoted_in_the_reason() -> None:
    for response in (b"\0guest\0s3cret\0", AMQPLAIN[:-1]):
        for read in MECHANISMS.values():
            with pytest.raises(LoginRefused) as caught:
                read(response)
            assert "s3cre" not in str(caught.value)
            assert caught.value.__cause__ is None


@given(response=st.binary(max_size=60), mechanism=st.sampled_from(sorted(MECHANISMS)))
def test_any_bytes_are_read_or_refused(response: bytes, mechanism: str) -> None:
    try:
        credentials = MECHANISMS[mechanism](response)
    except LoginRefused as refused:
        assert refused.malformed
    else:
        assert isinstance(credentials.user, str)
        assert isinstance(credentials.password, bytes)
