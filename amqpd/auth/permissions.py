"""Permission patterns: regular expressions over the names of queues, exchanges and topics.

A pattern is searched for anywhere in the name, not anchored; the empty pattern matches only the empty name. A topic
permission's pattern may hold `{username}` and `{vhost}`, which stand for those names as they are.

Source: RabbitMQ's rabbit_auth_backend_internal (check_resource_access, check_topic_access, set_permissions).
"""

from __future__ import annotations

import re

from amqpd.core import patterns

__all__ = ["compile_pattern", "compile_topic_pattern"]


def compile_pattern(pattern: str) -> re.Pattern[str]:
    """The pattern, ready to search with. Raises PreconditionFailed when it is no regular expression that works here."""
    return patterns.compile_pattern(pattern or "^$")


def compile_topic_pattern(pattern: str, user: str, vhost: str) -> re.Pattern[str]:
    """The pattern with its placeholders filled in. Raises PreconditionFailed as compile_pattern does."""
    filled = pattern.replace("{username}", re.escape(user)).replace("{vhost}", re.escape(vhost))
    return compile_pattern(filled)
