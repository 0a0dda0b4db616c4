"""Virtual hosts, users and permissions over HTTP.

/api/vhosts[/NAME]                          GET, PUT, DELETE
/api/vhosts/NAME/permissions                GET
/api/vhosts/NAME/topic-permissions          GET
/api/vhosts/NAME/deletion/protection        POST, DELETE
/api/users[/NAME]                           GET, PUT, DELETE
/api/users/NAME/permissions                 GET
/api/users/NAME/topic-permissions           GET
/api/permissions[/VHOST/USER]               GET, PUT, DELETE
/api/topic-permissions[/VHOST/USER]         GET, PUT (one exchange, named in the body), DELETE (all)
/api/topic-permissions/VHOST/USER/EXCHANGE  DELETE

PUT of a virtual host that exists changes what the body names of its metadata. Who creates one may do everything in it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from aiohttp import web

from amqpd.auth.users import UserStore
from amqpd.core import operations
from amqpd.core.broker import Broker
from amqpd.core.ports import PermissionRow, TopicPermissionRow, UserRow, VHostRow
from amqpd.core.vhost import VHost
from amqpd.management import fields, lists
from amqpd.management.conventions import (
    Outcome,
    Refusal,
    actor,
    flag,
    json_response,
    name_in_path,
    not_found,
    octets,
    read_object,
    stored,
    text,
)

__all__ = ["Administration"]


class Administration:
    """The routes of who may do what where."""

    def __init__(self, broker: Broker, users: UserStore, node: str) -> None:
        self.broker = broker
        self.users = users
        self.node = node

    def routes(self) -> list[web.RouteDef]:
        """All of them."""
        vhost, user = "/api/vhosts/{vhost:[^/]+}", "/api/users/{user:[^/]+}"
        permission = "/api/permissions/{vhost:[^/]+}/{user:[^/]+}"
        topic_permission = "/api/topic-permissions/{vhost:[^/]+}/{user:[^/]+}"
        return [
            web.get("/api/vhosts", self.list_vhosts),
            web.get(vhost, self.get_vhost),
            web.put(vhost, self.put_vhost),
            web.delete(vhost, self.delete_vhost),
            web.get(f"{vhost}/permissions", self.list_vhost_permissions),
            web.get(f"{vhost}/topic-permissions", self.list_vhost_topic_permissions),
            web.post(f"{vhost}/deletion/protection", self.protect_vhost),
            web.delete(f"{vhost}/deletion/protection", self.protect_vhost),
            web.get("/api/users", self.list_users),
            web.get(user, self.get_user),
            web.put(user, self.put_user),
            web.delete(user, self.delete_user),
            web.get(f"{user}/permissions", self.list_user_permissions),
            web.get(f"{user}/topic-permissions", self.list_user_topic_permissions),
            web.get("/api/permissions", self.list_permissions),
            web.get(permission, self.get_permission),
            web.put(permission, self.put_permission),
            web.delete(permission, self.delete_permission),
            web.get("/api/topic-permissions", self.list_topic_permissions),
            web.get(topic_permission, self.get_topic_permissions),
            web.put(topic_permission, self.put_topic_permission),
            web.delete(topic_permission, self.delete_topic_permissions),
            web.delete(f"{topic_permission}/{{exchange:[^/]+}}", self.delete_topic_permissions),
        ]

    def vhost(self, request: web.Request) -> VHost:
        """The virtual host in the path."""
        vhost = self.broker.vhosts.get(request.match_info["vhost"])
        if vhost is None:
            raise not_found()
        return vhost

    def user(self, request: web.Request) -> UserRow:
        """The user in the path."""
        row = self.users.find_user(request.match_info["user"])
        if row is None:
            raise not_found()
        return row

    # -------------------------------------------------------------------------------------- virtual hosts

    async def list_vhosts(self, request: web.Request) -> web.StreamResponse:
        return await lists.respond(request, self.broker.vhosts.values(), self.show_vhost)

    def show_vhost(self, vhost: VHost) -> lists.Item:
        return fields.vhost(vhost, self.node, self.broker.default_queue_type)

    async def get_vhost(self, request: web.Request) -> web.Response:
        item = self.show_vhost(self.vhost(request))
        return json_response(lists.only_columns(request, item))

    async def put_vhost(self, request: web.Request) -> web.Response:
        name, body = name_in_path(request, "vhost"), await read_object(request)
        known = self.broker.vhosts.get(name)
        row, done = metadata(known.row if known is not None else VHostRow(name), body), Outcome[bool]()
        operations.put_vhost(self.broker, row, done)
        created, user = await done.result(), actor().user
        if created and self.users.find_user(user) is not None:
            granted = Outcome[None]()
            self.users.set_permissions(user, name, ".*", ".*", ".*", granted)
            await granted.result()
        return stored(not created)

    async def protect_vhost(self, request: web.Request) -> web.Response:
        row, done = self.vhost(request).row, Outcome[bool]()
        operations.put_vhost(self.broker, row._replace(protected_from_deletion=request.method == "POST"), done)
        await done.result()
        return web.Response(status=204)

    async def delete_vhost(self, request: web.Request) -> web.Response:
        name, done = self.vhost(request).name, Outcome[None]()
        operations.delete_vhost(self.broker, name, done)
        await done.result()
        return web.Response(status=204)

    # ---------------------------------------------------------------------------------------------- users

    async def list_users(self, request: web.Request) -> web.StreamResponse:
        return await lists.respond(request, self.users.list_users(), fields.user)

    async def get_user(self, request: web.Request) -> web.Response:
        return json_response(lists.only_columns(request, fields.user(self.user(request))))

    async def put_user(self, request: web.Request) -> web.Response:
        name, body = name_in_path(request, "user"), await read_object(request)
        if "tags" not in body:
            raise Refusal(400, "'tags' is missing")
        tags = words(body, "tags")
        password = text(body, "password") if body.get("password") is not None else None
        password_hash = octets(body, "password_hash") if body.get("password_hash") is not None else None
        algorithm = text(body, "hashing_algorithm", "") or None
        existed, done = self.users.find_user(name) is not None, Outcome[None]()
        self.users.put_user(name, tags, done, password=password, password_hash=password_hash, algorithm=algorithm)
        await done.result()
        return stored(existed)

    async def delete_user(self, request: web.Request) -> web.Response:
        done = Outcome[None]()
        self.users.delete_user(self.user(request).name, done)
        await done.result()
        return web.Response(status=204)

    # ---------------------------------------------------------------------------------------- permissions

    async def list_permissions(self, request: web.Request) -> web.StreamResponse:
        return await self.show_permissions(request, self.users.list_permissions())

    async def list_vhost_permissions(self, request: web.Request) -> web.StreamResponse:
        return await self.show_permissions(request, self.users.list_permissions(vhost=self.vhost(request).name))

    async def list_user_permissions(self, request: web.Request) -> web.StreamResponse:
        return await self.show_permissions(request, self.users.list_permissions(user=self.user(request).name))

    async def show_permissions(self, request: web.Request, rows: Iterable[PermissionRow]) -> web.StreamResponse:
        return await lists.respond(request, rows, fields.permission, ("vhost", "user"))

    def permission(self, request: web.Request) -> PermissionRow:
        """The permission in the path."""
        row = self.users.find_permission(self.user(request).name, self.vhost(request).name)
        if row is None:
            raise not_found()
        return row

    async def get_permission(self, request: web.Request) -> web.Response:
        return json_response(lists.only_columns(request, fields.permission(self.permission(request))))

    async def put_permission(self, request: web.Request) -> web.Response:
        user, vhost, body = self.user(request).name, self.vhost(request).name, await read_object(request)
        patterns = text(body, "configure"), text(body, "write"), text(body, "read")
        existed, done = self.users.find_permission(user, vhost) is not None, Outcome[None]()
        self.users.set_permissions(user, vhost, *patterns, done)
        await done.result()
        return stored(existed)

    async def delete_permission(self, request: web.Request) -> web.Response:
        row, done = self.permission(request), Outcome[None]()
        self.users.clear_permissions(row.user, row.vhost, done)
        await done.result()
        return web.Response(status=204)

    # -------------------------------------------------------------------------------- topic permissions

    async def list_topic_permissions(self, request: web.Request) -> web.StreamResponse:
        return await self.show_topic_permissions(request, self.users.list_topic_permissions())

    async def list_vhost_topic_permissions(self, request: web.Request) -> web.StreamResponse:
        rows = self.users.list_topic_permissions(vhost=self.vhost(request).name)
        return await self.show_topic_permissions(request, rows)

    async def list_user_topic_permissions(self, request: web.Request) -> web.StreamResponse:
        rows = self.users.list_topic_permissions(user=self.user(request).name)
        return await self.show_topic_permissions(request, rows)

    async def get_topic_permissions(self, request: web.Request) -> web.StreamResponse:
        rows = self.users.list_topic_permissions(self.user(request).name, self.vhost(request).name)
        if not rows:
            raise not_found()
        return await self.show_topic_permissions(request, rows)

    async def show_topic_permissions(
        self, request: web.Request, rows: Iterable[TopicPermissionRow]
    ) -> web.StreamResponse:
        return await lists.respond(request, rows, fields.topic_permission, ("vhost", "user", "exchange"))

    async def put_topic_permission(self, request: web.Request) -> web.Response:
        user, vhost, body = self.user(request).name, self.vhost(request).name, await read_object(request)
        exchange, patterns = text(body, "exchange"), (text(body, "write"), text(body, "read"))
        existed, done = self.users.find_topic_permission(user, vhost, exchange) is not None, Outcome[None]()
        self.users.set_topic_permissions(user, vhost, exchange, *patterns, done)
        await done.result()
        return stored(existed)

    async def delete_topic_permissions(self, request: web.Request) -> web.Response:
        user, vhost, exchange = self.user(request).name, self.vhost(request).name, request.match_info.get("exchange")
        rows = self.users.list_topic_permissions(user, vhost)
        if not any(exchange in (None, row.exchange) for row in rows):
            raise not_found()
        done = Outcome[None]()
        self.users.clear_topic_permissions(user, vhost, exchange, done)
        await done.result()
        return web.Response(status=204)


def metadata(row: VHostRow, body: dict[str, Any]) -> VHostRow:
    """The virtual host with what the body says of its metadata."""
    if "description" in body:
        row = row._replace(description=text(body, "description"))
    if "tags" in body:
        row = row._replace(tags=words(body, "tags"))
    if body.get("default_queue_type") is not None:
        row = row._replace(default_queue_type=text(body, "default_queue_type"))
    if "tracing" in body:
        row = row._replace(tracing=flag(body, "tracing"))
    if "protected_from_deletion" in body:
        row = row._replace(protected_from_deletion=flag(body, "protected_from_deletion"))
    return row


def words(body: dict[str, Any], key: str) -> tuple[str, ...]:
    """A list of words of the body, as JSON has lists or separated by commas."""
    value = body.get(key, "")
    if isinstance(value, str):
        value = [word.strip() for word in value.split(",") if word.strip()]
    if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
        raise Refusal(400, f"'{key}' is neither a list of strings nor a string with commas")
    return tuple(value)
