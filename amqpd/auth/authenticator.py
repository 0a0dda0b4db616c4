"""Who the peer is: a login decided by the internal user database, for AMQP and for the HTTP face alike.

    response ── mechanism reads it ── password verified ── from loopback, where that is asked for ── Identity

Where the peer sits is looked at last, as in RabbitMQ: someone who does not know the password does not learn that the
user exists and is bound to loopback.

Source: RabbitMQ's rabbit_auth_backend_internal (user_login_authentication) and rabbit_access_control
(check_user_loopback).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from amqpd.auth import passwords
from amqpd.auth.mechanisms import MECHANISMS, Credentials
from amqpd.auth.users import UserStore
from amqpd.core.ports import Identity, LoginRefused, UserRow

__all__ = ["InternalAuthenticator"]


class InternalAuthenticator:
    """`ports.Authenticator` over a UserStore.

    `mechanisms` are offered in this order; ValueError for one that is not in mechanisms.MECHANISMS. Users in
    `loopback_users` can only log in from this host.
    """

    def __init__(
        self,
        users: UserStore,
        mechanisms: Sequence[str] = tuple(MECHANISMS),
        loopback_users: Iterable[str] = ("guest",),
    ) -> None:
        unknown = [name for name in mechanisms if name not in MECHANISMS]
        if unknown:
            raise ValueError(f"unknown authentication mechanism '{unknown[0]}'")
        self.users = users
        self.readers = {name: MECHANISMS[name] for name in mechanisms}
        self.loopback_users = frozenset(loopback_users)

    def mechanisms(self) -> Sequence[str]:
        """The mechanisms offered, in order."""
        return tuple(self.readers)

    def login(self, mechanism: str, response: bytes, loopback: bool) -> Identity:
        """Who sent this response. Raises LoginRefused; KeyError for a mechanism that is not offered."""
        return self.check(self.readers[mechanism](response), loopback)

    def login_basic(self, user: str, password: str, loopback: bool) -> Identity:
        """Who has this name and password (HTTP basic authentication). Raises LoginRefused.

        A password whose octets are not UTF-8 is passed as decoded with surrogateescape.
        """
        return self.check(Credentials(user, password.encode("utf-8", "surrogateescape")), loopback)

    def check(self, credentials: Credentials, loopback: bool) -> Identity:
        """Raises LoginRefused."""
        user, password = credentials
        if not password:
            raise LoginRefused(
                f"user '{user}' attempted to log in with a blank password, which is prohibited by the internal authN "
                "backend",
                user,
            )
        row = self.users.find_user(user)
        if not passwords.verify(password, *secret(row, self.users.algorithm)) or row is None:
            raise LoginRefused(f"user '{user}' - invalid credentials", user)
        if user in self.loopback_users and not loopback:
            raise LoginRefused(f"user '{user}' can only connect via localhost", user)
        return Identity(user, frozenset(row.tags))


def secret(row: UserRow | None, algorithm: str) -> tuple[bytes, str]:
    """The hash to verify against and its algorithm; for an unknown user one that nothing verifies against."""
    return (row.password_hash, row.hashing_algorithm) if row is not None else (b"", algorithm)
