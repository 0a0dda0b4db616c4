"""The limits of virtual hosts and of users over HTTP.

/api/vhost-limits[/VHOST]           GET
/api/vhost-limits/VHOST/LIMIT       PUT, DELETE
/api/user-limits[/USER]             GET
/api/user-limits/USER/LIMIT         PUT, DELETE

LIMIT is max-connections, max-queues (virtual hosts), max-channels (users). Who has no limits is not listed. Without a
LIMIT, which is ours alone, PUT takes an object of them, as rabbitmqctl does: instead of all that a virtual host has,
beside those that a user has; and DELETE drops all.
Source: RabbitMQ's rabbit_mgmt_wm_limits, _limit, _user_limits, _user_limit.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from aiohttp import web

from amqpd.auth.users import UserStore
from amqpd.core import operations
from amqpd.core.broker import Broker
from amqpd.core.parameters import LIMITS, VHOST_LIMITS
from amqpd.core.ports import UserRow
from amqpd.core.vhost import VHost
from amqpd.management import lists
from amqpd.management.conventions import Outcome, Refusal, not_found, read_object

__all__ = ["Limits"]


class Limits:
    """The routes of how much is allowed."""

    def __init__(self, broker: Broker, users: UserStore) -> None:
        self.broker = broker
        self.users = users

    def routes(self) -> list[web.RouteDef]:
        """All of them."""
        vhost, user = "/api/vhost-limits/{vhost:[^/]+}", "/api/user-limits/{user:[^/]+}"
        return [
            web.get("/api/vhost-limits", self.list_vhost_limits),
            web.get(vhost, self.list_vhost_limits),
            web.put(vhost, self.put_vhost_limits),
            web.delete(vhost, self.delete_vhost_limits),
            web.put(f"{vhost}/{{limit:[^/]+}}", self.put_vhost_limit),
            web.delete(f"{vhost}/{{limit:[^/]+}}", self.delete_vhost_limit),
            web.get("/api/user-limits", self.list_user_limits),
            web.get(user, self.list_user_limits),
            web.put(user, self.put_user_limits),
            web.delete(user, self.delete_user_limits),
            web.put(f"{user}/{{limit:[^/]+}}", self.put_user_limit),
            web.delete(f"{user}/{{limit:[^/]+}}", self.delete_user_limits),
        ]

    # -------------------------------------------------------------------------------------- virtual hosts

    def vhost(self, request: web.Request) -> VHost:
        """The virtual host in the path."""
        vhost = self.broker.vhosts.get(request.match_info["vhost"])
        if vhost is None:
            raise not_found()
        return vhost

    async def list_vhost_limits(self, request: web.Request) -> web.StreamResponse:
        one = "vhost" in request.match_info
        vhosts: Iterable[VHost] = [self.vhost(request)] if one else self.broker.vhosts.values()
        items: list[lists.Item] = [
            {"vhost": vhost.name, "value": limits_of(vhost)} for vhost in vhosts if limits_of(vhost)
        ]
        return await lists.respond(request, items, lambda item: item, ("vhost",))

    async def put_vhost_limits(self, request: web.Request) -> web.Response:
        return await self.replace(self.vhost(request), await read_object(request))

    async def put_vhost_limit(self, request: web.Request) -> web.Response:
        vhost, value = self.vhost(request), await read_value(request)
        return await self.replace(vhost, {**limits_of(vhost), request.match_info["limit"]: value})

    async def delete_vhost_limit(self, request: web.Request) -> web.Response:
        vhost = self.vhost(request)
        kept = {name: number for name, number in limits_of(vhost).items() if name != request.match_info["limit"]}
        return await self.replace(vhost, kept)

    async def delete_vhost_limits(self, request: web.Request) -> web.Response:
        done = Outcome[None]()
        operations.clear_vhost_limits(self.broker, self.vhost(request), done)
        await done.result()
        return web.Response(status=204)

    async def replace(self, vhost: VHost, limits: dict[str, Any]) -> web.Response:
        done = Outcome[None]()
        operations.set_vhost_limits(self.broker, vhost, limits, done)
        await done.result()
        return web.Response(status=204)

    # ---------------------------------------------------------------------------------------------- users

    def user(self, request: web.Request) -> UserRow:
        """The user in the path."""
        row = self.users.find_user(request.match_info["user"])
        if row is None:
            raise not_found()
        return row

    async def list_user_limits(self, request: web.Request) -> web.StreamResponse:
        rows = [self.user(request)] if "user" in request.match_info else self.users.list_users()
        items: list[lists.Item] = [{"user": row.name, "value": dict(row.limits)} for row in rows if row.limits]
        return await lists.respond(request, items, lambda item: item, ("user",))

    async def put_user_limit(self, request: web.Request) -> web.Response:
        row, value, done = self.user(request), await read_value(request), Outcome[None]()
        self.users.set_limits(row.name, {request.match_info["limit"]: value}, done)
        await done.result()
        return web.Response(status=204)

    async def put_user_limits(self, request: web.Request) -> web.Response:
        row, limits, done = self.user(request), await read_object(request), Outcome[None]()
        self.users.set_limits(row.name, limits, done)
        await done.result()
        return web.Response(status=204)

    async def delete_user_limits(self, request: web.Request) -> web.Response:
        done = Outcome[None]()
        self.users.clear_limits(self.user(request).name, request.match_info.get("limit", "all"), done)
        await done.result()
        return web.Response(status=204)


def limits_of(vhost: VHost) -> dict[str, Any]:
    """The limits that are set for a virtual host, also those that are none."""
    limits = vhost.parameters.get(VHOST_LIMITS, {}).get(LIMITS, {})
    return limits if isinstance(limits, dict) else {}


async def read_value(request: web.Request) -> object:
    """The number that a limit is to have."""
    body = await read_object(request)
    if "value" not in body:
        raise Refusal(400, "'value' is missing")
    return body["value"]
