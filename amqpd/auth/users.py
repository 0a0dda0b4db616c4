"""The users and permissions that the broker keeps, and every operation that changes them.

An operation checks first and raises at once what is wrong with it. Then it writes the catalog, and after the commit it
changes what logins and permission checks see, tells the listeners, and calls `done(None)`. A write that failed changes
nothing and ends in `done(error)`. With a catalog that commits at once, `done` is called before the operation returns.

    operation ── check against `planned` ── submit ── committed ── apply to `current` ── listeners ── done(None)
                                                 └─── failed ──── rebuild `planned` ──────────────── done(error)

`planned` is the users that there will be once all that is under way has been written, so two operations that overlap
see each other in the order in which they were asked: of two add_user("x") the second is refused although the first is
not committed yet.

Source: RabbitMQ's rabbit_auth_backend_internal; the texts are those that rabbitmqctl prints.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeAlias

from amqpd.auth.directory import Directory
from amqpd.auth.passwords import ALGORITHMS, SHA256, hash_password
from amqpd.auth.permissions import compile_pattern, compile_topic_pattern
from amqpd.core.parameters import USER_LIMITS, wrong_limits
from amqpd.core.ports import Catalog, Change, PermissionRow, Snapshot, TopicPermissionRow, UserRow
from amqpd.errors import AmqpError, InternalError, NotFound, PreconditionFailed

__all__ = ["TAGS_MAX", "Done", "Listener", "Observer", "UserStore", "normal_tags"]

Done: TypeAlias = Callable[[AmqpError | None], None]
"""How an operation ends: None, or the error that it met while writing."""

Listener: TypeAlias = Callable[[str, str | None], None]
"""Called with a user and the virtual host in which its rights have changed; None: everywhere."""

Observer: TypeAlias = Callable[[Change, UserRow | None], None]

TAGS_MAX = 32


def unobserved(change: Change, before: UserRow | None) -> None:
    """Nobody wants to know."""


class UserStore:
    """The internal user database.

    `vhost_exists` says whether there is a virtual host of this name; `algorithm` hashes new passwords: ValueError when
    it is not in passwords.ALGORITHMS.
    """

    def __init__(
        self, snapshot: Snapshot, catalog: Catalog, vhost_exists: Callable[[str], bool], algorithm: str = SHA256
    ) -> None:
        if algorithm not in ALGORITHMS:
            raise ValueError(f"unknown password hashing algorithm '{algorithm}'")
        self.current = Directory(snapshot)
        self.planned = dict(self.current.users)
        self.under_way: list[list[Change]] = []
        self.catalog = catalog
        self.vhost_exists = vhost_exists
        self.algorithm = algorithm
        self.listeners: list[Listener] = []
        self.observe: Observer = unobserved
        """Is shown each change that is made, and the user's row as it was before."""

    def on_change(self, listener: Listener) -> None:
        """Call `listener(user, vhost)` whenever a user's rights have changed, in the call that makes it so."""
        self.listeners.append(listener)

    # ------------------------------------------------------------------------------------------ reading

    def find_user(self, name: str) -> UserRow | None:
        """The user, or None."""
        return self.current.users.get(name)

    def get_user(self, name: str) -> UserRow:
        """The user. Raises NotFound."""
        return require_user(self.current.users, name)

    def find_permission(self, user: str, vhost: str) -> PermissionRow | None:
        """What the user may do in the virtual host; None: it may not even enter."""
        return self.current.permissions.get((user, vhost))

    def find_topic_permission(self, user: str, vhost: str, exchange: str) -> TopicPermissionRow | None:
        """Which topics the user may use of this exchange; None: all of them."""
        return self.current.topic_permissions.get((user, vhost, exchange))

    def list_users(self) -> list[UserRow]:
        """All users, the oldest first."""
        return list(self.current.users.values())

    def list_permissions(self, user: str | None = None, vhost: str | None = None) -> list[PermissionRow]:
        """The permissions of a user, in a virtual host, of one in the other, or all.

        Raises NotFound for a user or virtual host that does not exist.
        """
        if user is not None:
            self.get_user(user)
        if vhost is not None:
            self.require_vhost(vhost)
        return self.current.find_permissions(user, vhost)

    def list_topic_permissions(self, user: str | None = None, vhost: str | None = None) -> list[TopicPermissionRow]:
        """The same of topic permissions. Raises NotFound."""
        if user is not None:
            self.get_user(user)
        if vhost is not None:
            self.require_vhost(vhost)
        return self.current.find_topic_permissions(user, vhost)

    # -------------------------------------------------------------------------------------------- users

    def add_user(self, name: str, password: str, tags: Iterable[str], done: Done) -> None:
        """A new user, as yet without permissions; with a blank password it cannot log in by password.

        Raises PreconditionFailed when it exists, has no name or too many tags.
        """
        if name in self.planned:
            raise PreconditionFailed(f'User "{name}" already exists')
        self.put_user(name, tags, done, password=password)

    def put_user(
        self,
        name: str,
        tags: Iterable[str],
        done: Done,
        *,
        password: str | None = None,
        password_hash: bytes | None = None,
        algorithm: str | None = None,
    ) -> None:
        """A new user, or new password and tags for one that exists. Arguments and errors are those of new_user."""
        row = self.new_user(name, tags, password=password, password_hash=password_hash, algorithm=algorithm)
        self.write([Change(True, row)], done)

    def change_password(self, name: str, password: str, done: Done) -> None:
        """A new password; a blank one leaves the user without password login. Raises NotFound."""
        row = require_user(self.planned, name)
        new = row._replace(password_hash=self.hash(password), hashing_algorithm=self.algorithm)
        self.write([Change(True, new)], done)

    def set_tags(self, name: str, tags: Iterable[str], done: Done) -> None:
        """These tags instead of those it had. Raises NotFound, PreconditionFailed for too many."""
        row = require_user(self.planned, name)
        self.write([Change(True, row._replace(tags=normal_tags(tags)))], done)

    def delete_user(self, name: str, done: Done) -> None:
        """The user and its permissions are gone. Raises NotFound."""
        self.write([Change(False, require_user(self.planned, name))], done)

    def set_limits(self, name: str, limits: Mapping[str, object], done: Done) -> None:
        """These limits, beside the others that the user has; a negative number is no limit.

        Raises NotFound, PreconditionFailed for what is no limit.
        """
        row = require_user(self.planned, name)
        limits = self.checked_limits(limits)
        self.write([Change(True, row._replace(limits=tuple({**dict(row.limits), **limits}.items())))], done)

    def clear_limits(self, name: str, limit: str, done: Done) -> None:
        """The user has no such limit any more; "all": none at all. Raises NotFound."""
        row = require_user(self.planned, name)
        kept = () if limit == "all" else tuple(pair for pair in row.limits if pair[0] != limit)
        self.write([Change(True, row._replace(limits=kept))], done)

    # -------------------------------------------------------------------------------------- permissions

    def set_permissions(self, user: str, vhost: str, configure: str, write: str, read: str, done: Done) -> None:
        """These patterns instead of those it had in the virtual host.

        Raises NotFound for user or virtual host, PreconditionFailed for a pattern that is no regular expression.
        """
        require_user(self.planned, user)
        self.write([Change(True, self.new_permission(user, vhost, configure, write, read))], done)

    def clear_permissions(self, user: str, vhost: str, done: Done) -> None:
        """The user may no longer enter the virtual host, if it could. Raises NotFound for user or virtual host."""
        self.require_vhost(vhost)
        require_user(self.planned, user)
        self.write([Change(False, PermissionRow(user, vhost, "", "", ""))], done)

    def set_topic_permissions(self, user: str, vhost: str, exchange: str, write: str, read: str, done: Done) -> None:
        """These patterns for routing keys of the exchange, which need not exist.

        Raises NotFound for user or virtual host, PreconditionFailed for a pattern that is no regular expression.
        """
        require_user(self.planned, user)
        self.require_vhost(vhost)
        for pattern in (write, read):
            compile_topic_pattern(pattern, user, vhost)
        self.write([Change(True, TopicPermissionRow(user, vhost, exchange, write, read))], done)

    def clear_topic_permissions(self, user: str, vhost: str, exchange: str | None, done: Done) -> None:
        """No patterns for this exchange any more; None: for no exchange. Raises NotFound for user or virtual host."""
        self.require_vhost(vhost)
        require_user(self.planned, user)
        if exchange is not None:
            rows = [TopicPermissionRow(user, vhost, exchange, "", "")]
        else:
            rows = self.current.find_topic_permissions(user, vhost)
        self.write([Change(False, row) for row in rows], done)

    def vhost_deleted(self, name: str) -> None:
        """The virtual host is gone, in the catalog with all permissions in it: forget them here, those under way too.

        To be called when its deletion is submitted, before another virtual host can take the name.
        """
        for changes in self.under_way:
            changes[:] = [
                change
                for change in changes
                if not (isinstance(change.row, PermissionRow | TopicPermissionRow) and change.row.vhost == name)
            ]
        users = {row.user for row in self.current.drop_permissions(vhost=name)}
        users |= {row.user for row in self.current.drop_topic_permissions(vhost=name)}
        for user in users:
            self.tell(user, name)

    # ----------------------------------------------------------------------------------------- checking

    def new_user(
        self,
        name: str,
        tags: Iterable[str],
        *,
        password: str | None = None,
        password_hash: bytes | None = None,
        algorithm: str | None = None,
    ) -> UserRow:
        """The row of a user with this password, or this hash made with `algorithm` (None: the one for new passwords).

        With neither, or a blank password, it cannot log in by password. Limits that the user has stay. Raises
        PreconditionFailed for both, an unknown algorithm, no name, or too many tags.
        """
        if not name:
            raise PreconditionFailed("user cannot be an empty string")
        before = self.planned.get(name)
        limits = before.limits if before is not None else ()
        if password_hash is None:
            return UserRow(name, self.hash(password or ""), self.algorithm, normal_tags(tags), limits)
        if password is not None:
            raise PreconditionFailed("both password and password_hash are provided")
        algorithm = algorithm or self.algorithm
        if algorithm not in ALGORITHMS:
            raise PreconditionFailed(f"unknown password hashing algorithm '{algorithm}'")
        return UserRow(name, password_hash, algorithm, normal_tags(tags), limits)

    def new_permission(self, user: str, vhost: str, configure: str, write: str, read: str) -> PermissionRow:
        """The row of these permissions; whether there is such a user is not looked at.

        Raises NotFound for the virtual host, PreconditionFailed for a pattern that is no regular expression.
        """
        self.require_vhost(vhost)
        for pattern in (configure, write, read):
            compile_pattern(pattern)
        return PermissionRow(user, vhost, configure, write, read)

    def checked_limits(self, limits: Mapping[str, object]) -> dict[str, int]:
        """These limits. Raises PreconditionFailed for one that is no number, or none that a user can have."""
        wrong = wrong_limits("user-limits", limits, USER_LIMITS)
        if wrong is not None:
            raise PreconditionFailed(wrong)
        return {name: number for name, number in limits.items() if isinstance(number, int)}

    # ------------------------------------------------------------------------------------------ writing

    def write(self, changes: Sequence[Change], done: Done) -> None:
        """Submit the changes, which have been checked."""
        mine = list(changes)
        self.plan(mine)
        self.under_way.append(mine)

        def committed(error: Exception | None) -> None:
            # Found by identity: two operations under way may be equal.
            del self.under_way[next(at for at, other in enumerate(self.under_way) if other is mine)]
            if error is None:
                for change in mine:
                    name = getattr(change.row, "name", None)
                    self.observe(change, self.current.users.get(name) if name is not None else None)
                self.current.apply(mine)
                self.announce(mine)
                done(None)
            else:
                self.replan()
                done(InternalError(f"the change could not be written to the catalog: {error}"))

        self.catalog.submit(changes, committed)

    def plan(self, changes: Iterable[Change]) -> None:
        for change in changes:
            row = change.row
            if isinstance(row, UserRow):
                if change.put:
                    self.planned[row.name] = row
                else:
                    self.planned.pop(row.name, None)

    def replan(self) -> None:
        """Which users there will be, now that something which was under way never will."""
        self.planned = dict(self.current.users)
        for changes in self.under_way:
            self.plan(changes)

    def announce(self, changes: Iterable[Change]) -> None:
        for change in changes:
            if isinstance(change.row, UserRow):
                self.tell(change.row.name, None)
            elif isinstance(change.row, PermissionRow | TopicPermissionRow):
                self.tell(change.row.user, change.row.vhost)

    def tell(self, user: str, vhost: str | None) -> None:
        for listener in self.listeners:
            listener(user, vhost)

    def hash(self, password: str) -> bytes:
        """What to store for a new password; nothing for a blank one, which could never be used."""
        return hash_password(password.encode("utf-8"), self.algorithm) if password else b""

    def require_vhost(self, name: str) -> None:
        if not self.vhost_exists(name):
            raise NotFound(f'Virtual host "{name}" does not exist')


def require_user(users: Mapping[str, UserRow], name: str) -> UserRow:
    row = users.get(name)
    if row is None:
        raise NotFound(f'User "{name}" does not exist')
    return row


def normal_tags(tags: Iterable[str]) -> tuple[str, ...]:
    """The tags trimmed, once each, in order; "none" and blanks are no tags. Raises PreconditionFailed above TAGS_MAX.

    RabbitMQ gives a meaning to administrator, monitoring, policymaker, management and impersonator; any other is kept.
    """
    trimmed = (tag.strip() for tag in tags)
    normal = tuple(dict.fromkeys(tag for tag in trimmed if tag not in ("", "none")))
    if len(normal) > TAGS_MAX:
        raise PreconditionFailed(f"a user can have at most {TAGS_MAX} tags")
    return normal
