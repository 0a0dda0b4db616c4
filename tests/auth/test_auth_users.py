"""Operations on users: their checks, their order, and that nothing is seen before it is committed."""

from __future__ import annotations

import pytest

from amqpd.auth.passwords import MD5, SHA256, SHA512
from amqpd.auth.users import TAGS_MAX, UserStore, normal_tags
from amqpd.core.ports import Change, PermissionRow, Snapshot, UserRow
from amqpd.errors import InternalError, NotFound, PreconditionFailed

EVERYTHING = (".*", ".*", ".*")


@pytest.fixture
def heard(users: UserStore) -> list[tuple[str, str | None]]:
    heard: list[tuple[str, str | None]] = []
    users.on_change(lambda user, vhost: heard.append((user, vhost)))
    return heard


def test_a_snapshot_is_what_it_starts_with(make_store) -> None:
    row = UserRow("alice", b"hash", MD5, ("management",))
    permission = PermissionRow("alice", "/", *EVERYTHING)
    users = make_store(Snapshot([], [row], [permission], [], [], [], 1))
    assert users.list_users() == [row]
    assert users.list_permissions() == [permission]


def test_what_is_written_is_what_is_seen(users: UserStore, catalog, done) -> None:
    users.add_user("alice", "s3cret", ["management"], done)
    users.set_tags("alice", [], done)
    users.set_permissions("alice", "/", "c", "w", "r", done)
    users.clear_permissions("alice", "/", done)
    users.clear_permissions("alice", "/", done)
    users.delete_user("alice", done)
    assert done == [None] * 6
    puts = [[(change.put, type(change.row)) for change in changes] for changes in catalog.written]
    put_user, put_permission = [(True, UserRow)], [(True, PermissionRow)]
    drop_permission, drop_user = [(False, PermissionRow)], [(False, UserRow)]
    assert puts == [put_user, put_user, put_permission, drop_permission, drop_permission, drop_user]
    assert catalog.written[2] == [Change(True, PermissionRow("alice", "/", "c", "w", "r"))]


def test_passwords_are_stored_hashed(make_store, done) -> None:
    users = make_store(algorithm=SHA512)
    users.add_user("alice", "s3cret", [], done)
    users.add_user("blank", "", [], done)
    assert users.get_user("alice").hashing_algorithm == SHA512
    assert len(users.get_user("alice").password_hash) == 68
    assert users.get_user("blank").password_hash == b""
    with pytest.raises(ValueError, match="unknown password hashing"):
        make_store(algorithm="rot13")


def test_put_user_replaces(users: UserStore, done) -> None:
    users.put_user("alice", ["a"], done, password_hash=b"salthash", algorithm=MD5)
    assert users.get_user("alice") == UserRow("alice", b"salthash", MD5, ("a",))
    users.set_permissions("alice", "/", *EVERYTHING, done)
    users.put_user("alice", [], done, password_hash=b"salthash")
    assert users.get_user("alice") == UserRow("alice", b"salthash", SHA256, ())
    users.put_user("alice", [], done)
    assert users.get_user("alice").password_hash == b""
    assert users.find_permission("alice", "/") is not None


@pytest.mark.parametrize(
    ("operation", "arguments", "error", "text"),
    [
        ("add_user", ("alice", "x", []), PreconditionFailed, 'User "alice" already exists'),
        ("add_user", ("", "x", []), PreconditionFailed, "user cannot be an empty string"),
        ("add_user", ("bob", "x", map(str, range(33))), PreconditionFailed, "a user can have at most 32 tags"),
        ("change_password", ("bob", "x"), NotFound, 'User "bob" does not exist'),
        ("set_tags", ("bob", []), NotFound, 'User "bob" does not exist'),
        ("set_tags", ("alice", map(str, range(33))), PreconditionFailed, "a user can have at most 32 tags"),
        ("delete_user", ("bob",), NotFound, 'User "bob" does not exist'),
        ("set_permissions", ("bob", "/", *EVERYTHING), NotFound, 'User "bob" does not exist'),
        ("set_permissions", ("alice", "no", *EVERYTHING), NotFound, 'Virtual host "no" does not exist'),
        ("set_permissions", ("alice", "/", "*", "", ""), PreconditionFailed, "invalid regular expression '*'"),
        ("set_permissions", ("alice", "/", "", "(", ""), PreconditionFailed, "invalid regular expression '('"),
        ("set_permissions", ("alice", "/", "", "", "["), PreconditionFailed, "invalid regular expression '['"),
        ("clear_permissions", ("bob", "/"), NotFound, 'User "bob" does not exist'),
        ("clear_permissions", ("alice", "no"), NotFound, 'Virtual host "no" does not exist'),
    ],
)
def test_what_is_wrong_is_raised_and_not_written(
    users: UserStore, catalog, done, operation, arguments, error, text
) -> None:
    users.add_user("alice", "s3cret", [], done)
    with pytest.raises(error) as caught:
        getattr(users, operation)(*arguments, done)
    assert caught.value.explanation.startswith(text)
    assert (len(catalog.written), done) == (1, [None])


def test_put_user_refuses_contradictions(users: UserStore, done) -> None:
    with pytest.raises(PreconditionFailed, match="both password and password_hash"):
        users.put_user("alice", [], done, password="x", password_hash=b"y")
    with pytest.raises(PreconditionFailed, match="unknown password hashing algorithm 'rot13'"):
        users.put_user("alice", [], done, password_hash=b"y", algorithm="rot13")


def test_lists(users: UserStore, done) -> None:
    for name in ("alice", "bob"):
        users.add_user(name, "x", [], done)
        for vhost in ("/", "other"):
            users.set_permissions(name, vhost, *EVERYTHING, done)
    assert [row[:2] for row in users.list_permissions(user="bob")] == [("bob", "/"), ("bob", "other")]
    assert [row[:2] for row in users.list_permissions(vhost="/")] == [("alice", "/"), ("bob", "/")]
    assert [row[:2] for row in users.list_permissions("bob", "/")] == [("bob", "/")]
    with pytest.raises(NotFound):
        users.list_permissions(user="carol")
    with pytest.raises(NotFound):
        users.list_permissions(vhost="no")
    with pytest.raises(NotFound):
        users.get_user("carol")


def test_listeners_hear_whose_rights_changed_and_where(users: UserStore, heard, done) -> None:
    users.add_user("alice", "x", [], done)
    users.set_permissions("alice", "/", *EVERYTHING, done)
    users.set_tags("alice", ["a"], done)
    users.clear_permissions("alice", "/", done)
    users.delete_user("alice", done)
    assert heard == [("alice", None), ("alice", "/"), ("alice", None), ("alice", "/"), ("alice", None)]


def test_nothing_is_seen_before_its_commit(users: UserStore, catalog, heard, done) -> None:
    catalog.hold = True
    users.add_user("alice", "x", [], done)
    assert (users.find_user("alice"), heard, done) == (None, [], [])
    catalog.settle()
    assert users.find_user("alice") is not None
    assert (heard, done) == ([("alice", None)], [None])


def test_operations_under_way_see_each_other(users: UserStore, catalog, done) -> None:
    catalog.hold = True
    users.add_user("alice", "x", [], done)
    with pytest.raises(PreconditionFailed, match="already exists"):
        users.add_user("alice", "y", [], done)
    users.set_tags("alice", ["a"], done)
    users.set_permissions("alice", "/", *EVERYTHING, done)
    users.delete_user("alice", done)
    with pytest.raises(NotFound):
        users.set_tags("alice", ["b"], done)
    users.add_user("alice", "z", ["new"], done)
    while catalog.waiting:
        catalog.settle()
    assert users.get_user("alice").tags == ("new",)
    assert users.list_permissions() == []
    assert done == [None] * 5


def test_a_failed_write_changes_nothing(users: UserStore, catalog, heard, done) -> None:
    users.add_user("alice", "x", ["a"], done)
    catalog.hold = True
    users.set_tags("alice", ["b"], done)
    users.add_user("bob", "x", [], done)
    users.add_user("carol", "x", [], done)
    del heard[:], done[:]
    catalog.settle(OSError("disk full"))
    catalog.settle(OSError("disk full"))
    assert users.get_user("alice").tags == ("a",)
    assert heard == []
    assert [type(outcome) for outcome in done] == [InternalError, InternalError]
    assert "disk full" in done[0].explanation
    users.add_user("bob", "x", [], done)
    with pytest.raises(PreconditionFailed):
        users.add_user("carol", "x", [], done)
    while catalog.waiting:
        catalog.settle()
    assert [row.name for row in users.list_users()] == ["alice", "carol", "bob"]


def test_only_what_failed_is_taken_back(users: UserStore, catalog, done) -> None:
    users.add_user("alice", "x", [], done)
    catalog.hold = True
    users.delete_user("alice", done)
    users.add_user("bob", "x", [], done)
    catalog.settle(OSError("disk full"), at=1)
    users.add_user("bob", "x", [], done)
    with pytest.raises(NotFound):
        users.set_tags("alice", [], done)


def test_deleting_what_was_never_written(users: UserStore, catalog, done) -> None:
    catalog.hold = True
    users.add_user("alice", "x", [], done)
    users.delete_user("alice", done)
    catalog.settle(OSError("disk full"))
    catalog.settle()
    assert (users.list_users(), done[1]) == ([], None)


def test_a_deleted_virtual_host_takes_its_permissions_along(users: UserStore, catalog, heard, done) -> None:
    for name in ("alice", "bob"):
        users.add_user(name, "x", [], done)
    users.set_permissions("alice", "/", *EVERYTHING, done)
    users.set_permissions("alice", "other", *EVERYTHING, done)
    catalog.hold = True
    users.set_permissions("bob", "/", *EVERYTHING, done)
    del heard[:]
    users.vhost_deleted("/")
    assert heard == [("alice", "/")]
    catalog.settle()
    assert [row[:2] for row in users.list_permissions()] == [("alice", "other")]
    assert done[-1] is None


def test_tags_are_kept_in_order_once_each() -> None:
    assert normal_tags([" management", "none", "", "team-a ", "management"]) == ("management", "team-a")
    assert len(normal_tags(map(str, range(TAGS_MAX)))) == TAGS_MAX
