"""What happens to users and their permissions, as events tell of it (see core/events)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from amqpd.auth.users import Observer
from amqpd.core.ports import Change, PermissionRow, TopicPermissionRow, UserRow

__all__ = ["observer"]


def observer(emit: Callable[[str, Mapping[str, Any]], None]) -> Observer:
    """Emits an event for each change of the user database."""

    def observe(change: Change, before: UserRow | None) -> None:
        row = change.row
        if isinstance(row, UserRow):
            for kind in kinds_of(row, change.put, before):
                emit(kind, {"name": row.name, "tags": row.tags} if kind == "user.tags.set" else {"name": row.name})
        elif isinstance(row, PermissionRow | TopicPermissionRow):
            kind = "permission" if isinstance(row, PermissionRow) else "topic.permission"
            about = row._asdict() if change.put else {"user": row.user, "vhost": row.vhost}
            emit(f"{kind}.created" if change.put else f"{kind}.deleted", about)

    return observe


def kinds_of(row: UserRow, put: bool, before: UserRow | None) -> list[str]:
    """What has happened to the user."""
    if not put:
        return ["user.deleted"]
    if before is None:
        return ["user.created"]
    kinds = []
    if row.password_hash != before.password_hash:
        kinds.append("user.password.changed")
    if row.tags != before.tags:
        kinds.append("user.tags.set")
    return kinds
