"""Who gets in, from where, and what the log says of those who do not."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from amqpd.auth import passwords
from amqpd.auth.authenticator import InternalAuthenticator
from amqpd.auth.bootstrap import bootstrap
from amqpd.auth.passwords import MD5, SHA512, hash_password
from amqpd.auth.users import UserStore
from amqpd.core.ports import Authenticator, Identity, LoginRefused
from amqpd.errors import NotFound


@pytest.fixture
def authenticator(users: UserStore, done: Callable[..., None]) -> InternalAuthenticator:
    bootstrap(users, "guest", "guest", "/", ["administrator"], (".*", ".*", ".*"), done)
    users.add_user("alice", "s3cret", [], done)
    users.add_user("nopass", "", [], done)
    return InternalAuthenticator(users)


def refusal(authenticator: Authenticator, response: bytes, loopback: bool = True) -> LoginRefused:
    with pytest.raises(LoginRefused) as caught:
        authenticator.login("PLAIN", response, loopback)
    return caught.value


def test_login(authenticator: InternalAuthenticator) -> None:
    door: Authenticator = authenticator
    guest = Identity("guest", frozenset({"administrator"}))
    assert door.login("PLAIN", b"\0guest\0guest", True) == guest
    assert door.login("AMQPLAIN", b"\x05LOGINS\0\0\0\x05guest\x08PASSWORDS\0\0\0\x05guest", True) == guest
    assert door.login("PLAIN", b"\0alice\0s3cret", False) == Identity("alice", frozenset())


def test_mechanisms_are_those_configured(users: UserStore) -> None:
    assert list(InternalAuthenticator(users).mechanisms()) == ["PLAIN", "AMQPLAIN"]
    only = InternalAuthenticator(users, ["AMQPLAIN"])
    assert list(only.mechanisms()) == ["AMQPLAIN"]
    with pytest.raises(KeyError):
        only.login("PLAIN", b"\0guest\0guest", True)
    with pytest.raises(ValueError, match="unknown authentication mechanism 'GSSAPI'"):
        InternalAuthenticator(users, ["PLAIN", "GSSAPI"])


@pytest.mark.parametrize("response", [b"\0alice\0wrong", b"\0nobody\0s3cret", b"\0nopass\0s3cret"])
def test_wrong_credentials_read_alike(authenticator: InternalAuthenticator, response: bytes) -> None:
    refused = refusal(authenticator, response)
    user = response.split(b"\0")[1].decode()
    assert str(refused) == f"user '{user}' - invalid credentials"
    assert (refused.user, refused.malformed) == (user, False)


@pytest.mark.parametrize("user", ["alice", "nopass", "nobody"])
def test_a_blank_password_is_refused(authenticator: InternalAuthenticator, user: str) -> None:
    refused = refusal(authenticator, b"\0" + user.encode() + b"\0")
    assert "blank password" in str(refused)
    assert refused.user == user


@pytest.mark.parametrize("user", ["alice", "nopass", "nobody"])
def test_every_user_costs_one_hash(
    authenticator: InternalAuthenticator, user: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed: list[bytes] = []
    real = passwords.ALGORITHMS[passwords.SHA256]

    def counting(data: bytes) -> passwords.Digest:
        hashed.append(data)
        return real(data)

    monkeypatch.setitem(passwords.ALGORITHMS, passwords.SHA256, counting)
    refusal(authenticator, b"\0" + user.encode() + b"\0wrong")
    assert len(hashed) == 1


def test_guest_comes_from_this_host_only(authenticator: InternalAuthenticator, users: UserStore) -> None:
    refused = refusal(authenticator, b"\0guest\0guest", loopback=False)
    assert str(refused) == "user 'guest' can only connect via localhost"
    assert refused.user == "guest"
    assert "invalid credentials" in str(refusal(authenticator, b"\0guest\0wrong", loopback=False))
    anywhere = InternalAuthenticator(users, loopback_users=())
    assert anywhere.login("PLAIN", b"\0guest\0guest", False).user == "guest"


def test_basic(authenticator: InternalAuthenticator) -> None:
    assert authenticator.login_basic("alice", "s3cret", False) == Identity("alice", frozenset())
    for user, password, loopback in [("alice", "wrong", True), ("guest", "guest", False), ("alice", "\udcff", True)]:
        with pytest.raises(LoginRefused):
            authenticator.login_basic(user, password, loopback)


def test_users_brought_along_log_in(
    authenticator: InternalAuthenticator, users: UserStore, done: Callable[..., None]
) -> None:
    for algorithm in (MD5, SHA512):
        users.put_user("old", [], done, password_hash=hash_password(b"pw", algorithm), algorithm=algorithm)
        assert authenticator.login("PLAIN", b"\0old\0pw", False).user == "old"


def test_a_changed_password_counts_at_once(
    authenticator: InternalAuthenticator, users: UserStore, done: Callable[..., None]
) -> None:
    users.change_password("alice", "new", done)
    refusal(authenticator, b"\0alice\0s3cret")
    assert authenticator.login("PLAIN", b"\0alice\0new", True).user == "alice"
    users.change_password("alice", "", done)
    refusal(authenticator, b"\0alice\0new")


def test_bootstrap_is_one_commit(users: UserStore, catalog, done) -> None:
    bootstrap(users, "guest", "guest", "/", ["administrator"], ("a", "b", "c"), done)
    assert [len(changes) for changes in catalog.written] == [2]
    assert users.find_permission("guest", "/")[2:] == ("a", "b", "c")
    assert [row.name for row in users.list_users()] == ["guest"]
    assert done == [None]


def test_bootstrap_needs_the_virtual_host(users: UserStore, done: Callable[..., None]) -> None:
    with pytest.raises(NotFound):
        bootstrap(users, "guest", "guest", "nowhere", [], (".*", ".*", ".*"), done)
    assert users.list_users() == []
