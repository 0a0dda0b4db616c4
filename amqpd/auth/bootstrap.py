"""The default user of a database that has none: what a first start creates.

Source: RabbitMQ's rabbit:maybe_insert_default_data; `default_user`, `default_pass`, `default_vhost`,
`default_user_tags` and `default_permissions` in rabbitmq.conf.
"""

from __future__ import annotations

from collections.abc import Iterable

from amqpd.auth.users import Done, UserStore
from amqpd.core.ports import Change

__all__ = ["bootstrap"]


def bootstrap(
    users: UserStore,
    name: str,
    password: str,
    vhost: str,
    tags: Iterable[str],
    permissions: tuple[str, str, str],
    done: Done,
) -> None:
    """Create this user with its `permissions` (configure, write, read), in one commit.

    Raises NotFound for the virtual host, and what UserStore.new_user raises.
    """
    user = users.new_user(name, tags, password=password)
    permission = users.new_permission(name, vhost, *permissions)
    users.write([Change(True, user), Change(True, permission)], done)
