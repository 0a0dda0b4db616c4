"""Users and permissions as plain rows, and what a committed catalog change does to them.

UserStore keeps one directory: what it holds is what logins and permission checks see.
"""

from __future__ import annotations

from collections.abc import Iterable

from amqpd.core.ports import Change, PermissionRow, Snapshot, TopicPermissionRow, UserRow

__all__ = ["Directory"]


class Directory:
    """The rows by key. Changes have the same effect here as in the catalog (`ports.Change`)."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.users = {row.name: row for row in snapshot.users}
        self.permissions = {(row.user, row.vhost): row for row in snapshot.permissions}
        self.topic_permissions = {(row.user, row.vhost, row.exchange): row for row in snapshot.topic_permissions}

    def apply(self, changes: Iterable[Change]) -> None:
        """Put and drop these rows. Dropping a user drops its permissions too."""
        for change in changes:
            row = change.row
            if isinstance(row, UserRow):
                if change.put:
                    self.users[row.name] = row
                else:
                    self.users.pop(row.name, None)
                    self.drop_permissions(user=row.name)
                    self.drop_topic_permissions(user=row.name)
            elif isinstance(row, PermissionRow):
                if change.put:
                    self.permissions[row.user, row.vhost] = row
                else:
                    self.permissions.pop((row.user, row.vhost), None)
            elif isinstance(row, TopicPermissionRow):
                if change.put:
                    self.topic_permissions[row.user, row.vhost, row.exchange] = row
                else:
                    self.topic_permissions.pop((row.user, row.vhost, row.exchange), None)

    def find_permissions(self, user: str | None = None, vhost: str | None = None) -> list[PermissionRow]:
        """The permissions of this user, in this virtual host, or both; None means any."""
        return [
            row
            for row in self.permissions.values()
            if (user is None or row.user == user) and (vhost is None or row.vhost == vhost)
        ]

    def drop_permissions(self, user: str | None = None, vhost: str | None = None) -> list[PermissionRow]:
        """Forget what find_permissions finds; returns it."""
        rows = self.find_permissions(user, vhost)
        for row in rows:
            del self.permissions[row.user, row.vhost]
        return rows

    def find_topic_permissions(self, user: str | None = None, vhost: str | None = None) -> list[TopicPermissionRow]:
        """The topic permissions of this user, in this virtual host, or both; None means any."""
        return [
            row
            for row in self.topic_permissions.values()
            if (user is None or row.user == user) and (vhost is None or row.vhost == vhost)
        ]

    def drop_topic_permissions(self, user: str | None = None, vhost: str | None = None) -> list[TopicPermissionRow]:
        """Forget what find_topic_permissions finds; returns it."""
        rows = self.find_topic_permissions(user, vhost)
        for row in rows:
            del self.topic_permissions[row.user, row.vhost, row.exchange]
        return rows
