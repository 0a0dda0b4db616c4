"""What every new virtual host is given whose name matches: limits, operator policies, users and their permissions.

The configuration says so, in groups of keys: `default_limits.vhosts.1.pattern = ^dev`, and what belongs to it. Of the
limits the first group that matches counts, of policies and users all do. A user who exists keeps password and tags and
gets the permissions. What cannot be done is logged, the rest is done. Source: RabbitMQ's rabbit_db_vhost_defaults.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, TypeAlias

from amqpd.auth.users import UserStore
from amqpd.core import operations
from amqpd.core.broker import Broker
from amqpd.core.operations import Done
from amqpd.core.patterns import compile_pattern
from amqpd.core.vhost import VHost
from amqpd.errors import AmqpError

__all__ = ["Defaults"]

Groups: TypeAlias = Mapping[str, Mapping[str, Any]]
"""Name of a group -> its settings, with underscores as the keys have them."""

log = logging.getLogger("amqpd")


class Defaults:
    """The groups of one configuration."""

    def __init__(self, broker: Broker, users: UserStore, *, limits: Groups, policies: Groups, users_of: Groups) -> None:
        self.broker = broker
        self.users = users
        self.limits = limits
        self.policies = policies
        self.users_of = users_of

    def fill(self, vhost: VHost, then: Callable[[], None]) -> None:
        """Give the virtual host what is for it, one thing after the other, then call."""
        self.next(vhost, self.steps(vhost), then)

    def next(self, vhost: VHost, steps: Iterator[Callable[[Done[None]], object]], then: Callable[[], None]) -> None:
        step = next(steps, None)
        if step is None:
            then()
            return

        def done(outcome: AmqpError | None) -> None:
            if outcome is not None:
                log.error("a default of vhost '%s' cannot be applied: %s", vhost.name, outcome)
            self.next(vhost, steps, then)

        try:
            step(done)
        except AmqpError as error:
            done(error)

    def steps(self, vhost: VHost) -> Iterator[Callable[[Done[None]], object]]:
        """The operations, each when the one before it is done."""
        for group in self.limits.values():
            if matches(vhost, group.get("pattern")):
                limits = dashed(group, "pattern")
                log.info("Applied default limits to vhost '%s': %s", vhost.name, limits)
                yield partial(operations.set_vhost_limits, self.broker, vhost, limits)
                break
        for name, group in self.policies.items():
            if matches(vhost, group.get("vhost_pattern")):
                log.info("Applied default operator policy to vhost '%s': %s", vhost.name, name)
                yield partial(self.set_policy, vhost, name, group)
        for name, group in self.users_of.items():
            if matches(vhost, group.get("vhost_pattern")):
                if self.users.find_user(name) is None:
                    yield partial(self.put_user, name, group)
                log.info("Added default user to vhost '%s': %s", vhost.name, name)
                patterns = (group.get(permission, ".*") for permission in ("configure", "write", "read"))
                yield partial(self.users.set_permissions, name, vhost.name, *patterns)

    def set_policy(self, vhost: VHost, name: str, group: Mapping[str, Any], done: Done[None]) -> None:
        operations.set_policy(
            self.broker,
            vhost,
            name,
            pattern=group.get("queue_pattern", ".*"),
            definition=dashed(group, "vhost_pattern", "queue_pattern", "apply_to"),
            apply_to=group.get("apply_to", "all"),
            operator=True,
            done=done,
        )

    def put_user(self, name: str, group: Mapping[str, Any], done: Done[None]) -> None:
        tags = str(group.get("tags", "")).split(",")
        self.users.put_user(name, tags, done, password=group.get("password"))


def matches(vhost: VHost, pattern: str | None) -> bool:
    """Is the group for this virtual host? One without a pattern is for all."""
    return pattern is None or compile_pattern(pattern).search(vhost.name) is not None


def dashed(group: Mapping[str, Any], *others: str) -> dict[str, Any]:
    """The settings of the group but these, named as limits and policy keys are."""
    return {name.replace("_", "-"): value for name, value in group.items() if name not in others}
