"""What a logged-in user may do: the permission patterns of the internal database behind the Access door.

Answers are remembered, because a client without plans (a queue declared, a binding made) asks the same few questions
again and again. A change of rights forgets them all in the call that makes the change.
"""

from __future__ import annotations

from amqpd.auth.permissions import compile_pattern, compile_topic_pattern
from amqpd.auth.users import UserStore
from amqpd.core.ports import PermissionRow, TopicPermissionRow
from amqpd.errors import PreconditionFailed

__all__ = ["ANSWERS_MAX", "InternalAccess", "Unrestricted"]

ANSWERS_MAX = 16384

FIELD = {name: PermissionRow._fields.index(name) for name in ("configure", "write", "read")}
TOPIC_FIELD = {name: TopicPermissionRow._fields.index(name) for name in ("write", "read")}


class InternalAccess:
    """`ports.Access` over a UserStore."""

    def __init__(self, users: UserStore) -> None:
        self.users = users
        self.answers: dict[tuple[str, str, str, str], bool] = {}
        users.on_change(self.forget)

    def may_enter(self, user: str, vhost: str) -> bool:
        """Whether the user has permissions in the virtual host, be they empty."""
        return self.users.find_permission(user, vhost) is not None

    def allows(self, user: str, vhost: str, permission: str, resource: str) -> bool:
        """Whether the user's pattern for `permission` is found in the resource's name.

        Raises KeyError for a permission that is not "configure", "write" or "read".
        """
        question = (user, vhost, permission, resource)
        answer = self.answers.get(question)
        if answer is None:
            if len(self.answers) >= ANSWERS_MAX:
                for old in list(self.answers)[: ANSWERS_MAX // 2]:
                    del self.answers[old]
            answer = self.answers[question] = self.decide(user, vhost, FIELD[permission], resource)
        return answer

    def allows_topic(self, user: str, vhost: str, permission: str, exchange: str, routing_key: str) -> bool:
        """Whether the user's pattern for this exchange, if there is one, is found in the routing key."""
        row = self.users.find_topic_permission(user, vhost, exchange)
        if row is None:
            return True
        try:
            pattern = compile_topic_pattern(row[TOPIC_FIELD[permission]], user, vhost)
            return pattern.search(routing_key) is not None
        except PreconditionFailed:
            return False

    def limit(self, user: str, name: str) -> int | None:
        """The user's limit of this name; None: it has none."""
        row = self.users.find_user(user)
        number = dict(row.limits).get(name) if row is not None else None
        return number if number is not None and number >= 0 else None

    def tags(self, user: str) -> frozenset[str]:
        """The user's tags; none for a user that is gone."""
        row = self.users.find_user(user)
        return frozenset(row.tags) if row is not None else frozenset()

    def decide(self, user: str, vhost: str, field: int, resource: str) -> bool:
        row = self.users.find_permission(user, vhost)
        if row is None:
            return False
        try:
            return compile_pattern(row[field]).search(resource) is not None
        except PreconditionFailed:
            # It was checked when it was set, but by another Python version's `re`: closed rather than open.
            return False

    def forget(self, user: str, vhost: str | None) -> None:
        """Rights have changed; whose is not looked at, as it is rare and the answers are cheap to find again."""
        self.answers.clear()


class Unrestricted:
    """The rights of who may do everything (`ports.Access`)."""

    def may_enter(self, user: str, vhost: str) -> bool:
        return True

    def allows(self, user: str, vhost: str, permission: str, resource: str) -> bool:
        return True

    def allows_topic(self, user: str, vhost: str, permission: str, exchange: str, routing_key: str) -> bool:
        return True

    def tags(self, user: str) -> frozenset[str]:
        return frozenset({"administrator"})

    def limit(self, user: str, name: str) -> int | None:
        return None
