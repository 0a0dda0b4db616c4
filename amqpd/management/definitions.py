"""Definitions over HTTP.

/api/definitions[/VHOST]         GET ?download=NAME, POST
/api/apply-definitions[/VHOST]   POST ?plan=true&prune=true      (not RabbitMQ's; see definitions/applying)

A POST has the document as its body, or as the field `file` of a form.
Source: RabbitMQ's rabbit_mgmt_wm_definitions.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from aiohttp import BodyPartReader, web

from amqpd.auth.users import UserStore
from amqpd.core.broker import Broker
from amqpd.core.vhost import VHost
from amqpd.definitions import About, DefinitionsError, apply, export, import_definitions, parse, plan
from amqpd.management.about import NodeInfo
from amqpd.management.conventions import Refusal, json_response, not_found, query_flag

__all__ = ["Definitions"]

DOCUMENT_MAX = 256 << 20
"""Octets of a document: those of a million queues. Other requests are held to what is usual."""

PIECES = 200
"""Pieces of a document that are sent in one write."""


class Definitions:
    """The routes of everything at once."""

    def __init__(self, broker: Broker, users: UserStore, node: NodeInfo) -> None:
        self.broker = broker
        self.users = users
        self.about = About(node.product_name, node.product_version, node.cluster_name)

    def routes(self) -> list[web.RouteDef]:
        """All of them."""
        one = "/api/definitions/{vhost:[^/]+}"
        return [
            web.get("/api/definitions", self.get),
            web.post("/api/definitions", self.post),
            web.get(one, self.get),
            web.post(one, self.post),
            web.post("/api/apply-definitions", self.apply),
            web.post("/api/apply-definitions/{vhost:[^/]+}", self.apply),
        ]

    def vhost(self, request: web.Request) -> VHost | None:
        """The virtual host in the path, None where there is none in it."""
        if "vhost" not in request.match_info:
            return None
        vhost = self.broker.vhosts.get(request.match_info["vhost"])
        if vhost is None:
            raise not_found()
        return vhost

    async def get(self, request: web.Request) -> web.StreamResponse:
        document = export(self.broker, self.users, self.about, self.vhost(request))
        headers = {"Content-Type": "application/json", "Cache-Control": "no-cache"}
        if "download" in request.query:
            name = "".join(char for char in request.query["download"] if char.isalnum() or char in "-_.")
            headers["Content-Disposition"] = f"attachment; filename={name}"
        response = web.StreamResponse(headers=headers)
        await response.prepare(request)
        some: list[str] = []
        for piece in document.pieces():
            some.append(piece)
            if len(some) == PIECES:
                await response.write("".join(some).encode("ascii"))
                some.clear()
                await asyncio.sleep(0)
        await response.write("".join(some).encode("ascii"))
        return response

    async def post(self, request: web.Request) -> web.Response:
        vhost = self.vhost(request)
        try:
            document = parse(await body(request) or b"{}")
            await import_definitions(self.broker, self.users, document, vhost.name if vhost is not None else None)
        except DefinitionsError as error:
            raise Refusal(400, str(error)) from None
        return web.Response(status=204)

    async def apply(self, request: web.Request) -> web.Response:
        vhost, prune = self.vhost(request), query_flag(request, "prune")
        only = vhost.name if vhost is not None else None
        try:
            document = parse(await body(request) or b"{}")
            if query_flag(request, "plan"):
                steps = plan(self.broker, self.users, document, only, prune)
            else:
                steps = await apply(self.broker, self.users, document, only, prune)
        except DefinitionsError as error:
            raise Refusal(400, str(error)) from None
        return json_response([step._asdict() for step in steps])


async def body(request: web.Request) -> bytes:
    """The document that was sent."""
    if request.content_type != "multipart/form-data":
        return await gather(request.content.readany)
    try:
        async for part in await request.multipart():
            if isinstance(part, BodyPartReader) and part.name == "file":
                return await gather(part.read_chunk)
    except ValueError as error:
        raise Refusal(400, f"the form cannot be read: {error}") from None
    raise Refusal(400, "the form has no field 'file'")


async def gather(read: Callable[[], Awaitable[bytes]]) -> bytes:
    """All that comes until nothing more does."""
    chunks: list[bytes] = []
    size = 0
    while chunk := await read():
        size += len(chunk)
        if size > DOCUMENT_MAX:
            raise Refusal(413, f"definitions can have at most {DOCUMENT_MAX} octets")
        chunks.append(chunk)
    return b"".join(chunks).strip()
