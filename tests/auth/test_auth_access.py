"""Answers follow the permissions at once and stay few."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from amqpd.auth import access as access_module
from amqpd.auth.access import InternalAccess
from amqpd.auth.users import UserStore
from amqpd.core.ports import Access, PermissionRow, Snapshot, UserRow
from amqpd.errors import PreconditionFailed


@pytest.fixture
def alice(users: UserStore, done: Callable[..., None]) -> str:
    users.add_user("alice", "s3cret", ["monitoring"], done)
    users.set_permissions("alice", "/", "^conf", "^amq.default$", "", done)
    return "alice"


def test_it_is_the_access_door(access: InternalAccess) -> None:
    door: Access = access
    assert door.tags("nobody") == frozenset()


def test_each_permission_has_its_pattern(access: InternalAccess, alice: str) -> None:
    allowed = {
        (permission, name)
        for permission in ("configure", "write", "read")
        for name in ("conf-1", "amq.default", "")
        if access.allows(alice, "/", permission, name)
    }
    assert allowed == {("configure", "conf-1"), ("write", "amq.default"), ("read", "")}
    with pytest.raises(KeyError):
        access.allows(alice, "/", "delete", "conf-1")


def test_no_row_is_no_access(access: InternalAccess, alice: str) -> None:
    assert access.may_enter(alice, "/")
    assert not access.may_enter(alice, "other")
    assert not access.allows(alice, "other", "configure", "conf-1")
    assert not access.may_enter("nobody", "/")
    assert not access.allows("nobody", "/", "read", "")


def test_tags_are_live(access: InternalAccess, users: UserStore, alice: str, done: Callable[..., None]) -> None:
    assert access.tags(alice) == {"monitoring"}
    users.set_tags(alice, ["impersonator"], done)
    assert access.tags(alice) == {"impersonator"}


def test_a_change_is_seen_by_the_next_question(
    access: InternalAccess, users: UserStore, alice: str, done: Callable[..., None]
) -> None:
    assert access.allows(alice, "/", "configure", "conf-1")
    users.set_permissions(alice, "/", "^other", "", "", done)
    assert not access.allows(alice, "/", "configure", "conf-1")
    assert access.allows(alice, "/", "configure", "other")
    users.clear_permissions(alice, "/", done)
    assert not access.allows(alice, "/", "configure", "other")
    users.set_permissions(alice, "/", ".*", "", "", done)
    assert access.allows(alice, "/", "configure", "other")
    users.delete_user(alice, done)
    assert not access.allows(alice, "/", "configure", "other")


def test_answers_are_forgotten_before_later_listeners_ask(
    access: InternalAccess, users: UserStore, alice: str, done: Callable[..., None]
) -> None:
    asked: list[bool] = [access.allows(alice, "/", "configure", "conf-1")]
    users.on_change(lambda user, vhost: asked.append(access.allows(alice, "/", "configure", "conf-1")))
    users.clear_permissions(alice, "/", done)
    assert asked == [True, False]


def test_answers_are_remembered_but_not_without_end(
    access: InternalAccess, alice: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access_module, "ANSWERS_MAX", 10)
    for number in range(100):
        assert access.allows(alice, "/", "configure", f"conf-{number}")
        assert len(access.answers) <= 10
    monkeypatch.setattr(access, "decide", None)
    assert access.allows(alice, "/", "configure", "conf-99")


def test_a_stored_pattern_that_no_longer_compiles_allows_nothing(make_store: Callable[..., UserStore]) -> None:
    user = UserRow("bob", b"", "rabbit_password_hashing_sha256")
    row = PermissionRow("bob", "/", "(", ".*", ".*")
    access = InternalAccess(make_store(Snapshot([], [user], [row], [], [], [], 1)))
    assert not access.allows("bob", "/", "configure", "(")
    assert access.allows("bob", "/", "write", "x")


# --------------------------------------------------------------------------------------------------- topics


def test_without_a_topic_permission_all_topics_are_allowed(users: UserStore, access: InternalAccess) -> None:
    assert access.allows_topic("alice", "/", "write", "amq.topic", "any.thing")


def test_topics_by_pattern_and_placeholders(
    users: UserStore, access: InternalAccess, done: Callable[..., None]
) -> None:
    users.add_user("al.ice", "secret", [], done)
    users.set_topic_permissions("al.ice", "/", "amq.topic", "^{username}\\.{vhost}$", "", done)
    assert access.allows_topic("al.ice", "/", "write", "amq.topic", "al.ice./")
    assert not access.allows_topic("al.ice", "/", "write", "amq.topic", "alxice./"), "a name is no pattern"
    assert not access.allows_topic("al.ice", "/", "read", "amq.topic", "a")
    assert access.allows_topic("al.ice", "/", "read", "other", "a")
    users.clear_topic_permissions("al.ice", "/", None, done)
    assert access.allows_topic("al.ice", "/", "read", "amq.topic", "a")


def test_limits_of_a_user(users: UserStore, access: InternalAccess, done: Callable[..., None]) -> None:
    users.add_user("bob", "secret", [], done)
    users.set_limits("bob", {"max-channels": 5}, done)
    users.set_limits("bob", {"max-connections": -1}, done)
    assert (access.limit("bob", "max-channels"), access.limit("bob", "max-connections")) == (5, None)
    users.put_user("bob", ["monitoring"], done, password="other")
    assert access.limit("bob", "max-channels") == 5, "a new password changes no limits"
    with pytest.raises(PreconditionFailed, match='max-channels should be a number, actually was <<"1">>'):
        users.set_limits("bob", {"max-channels": "1"}, done)
    with pytest.raises(PreconditionFailed, match="Unrecognised terms"):
        users.set_limits("bob", {"max-queues": 1}, done)
    users.clear_limits("bob", "all", done)
    assert access.limit("bob", "max-channels") is None and access.limit("nobody", "max-channels") is None
