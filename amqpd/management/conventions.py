"""How this API speaks HTTP: who asks, what bodies and paths may hold, how operations are awaited, how errors look.

An error is a status and `{"error": ..., "reason": ...}`. What an operation refuses has its AmqpError's status and
explanation; a path that names nothing is 404 `Object Not Found`; a body that cannot be read is 400 `bad_request`.
Source: RabbitMQ's rabbit_mgmt_util.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import logging
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any, Generic, TypeAlias, TypeVar

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from amqpd.core.operations import Actor
from amqpd.errors import AmqpError
from amqpd.wire.tables import Table, TableError, from_json

__all__ = [
    "Authenticate",
    "Outcome",
    "Refusal",
    "actor",
    "authentication",
    "errors",
    "flag",
    "json_response",
    "name_in_path",
    "not_found",
    "octets",
    "query_flag",
    "read_object",
    "stored",
    "table",
    "text",
]

log = logging.getLogger("amqpd.management")

T = TypeVar("T")

Authenticate: TypeAlias = Callable[[web.Request], Awaitable[Actor]]
"""Says who asks; raises Refusal 401 for one who may not."""

SHORTSTR_MAX = 255

ERROR_NAMES = {
    400: "bad_request",
    401: "not_authorized",
    403: "not_authorized",
    404: "not_found",
    405: "method_not_allowed",
    412: "precondition_failed",
    413: "content_too_large",
    500: "internal_server_error",
    503: "service_unavailable",
}


class Refusal(Exception):
    """A request that this API itself turns down."""

    def __init__(self, status: int, reason: str, error: str | None = None) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.error = error or ERROR_NAMES[status]


def not_found() -> Refusal:
    """The path names something that is not there."""
    return Refusal(404, "Not Found", "Object Not Found")


# --------------------------------------------------------------------------------------------------- answers


def json_response(value: object, status: int = 200) -> web.Response:
    """The value as JSON."""
    body = json.dumps(value, separators=(",", ":")).encode("ascii")
    return web.Response(
        body=body, status=status, content_type="application/json", headers={"Cache-Control": "no-cache"}
    )


def stored(existed: bool) -> web.Response:
    """What a PUT that did its work answers: 201 when the thing is new, else 204."""
    return web.Response(status=204 if existed else 201)


def error_response(status: int, error: str, reason: str) -> web.Response:
    return json_response({"error": error, "reason": reason}, status)


@web.middleware
async def errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Whatever goes wrong in a request, as an answer."""
    try:
        return await handler(request)
    except AmqpError as error:
        status = error.http_status
        return error_response(status, ERROR_NAMES.get(status, error.constant.lower()), error.explanation)
    except Refusal as refusal:
        return error_response(refusal.status, refusal.error, refusal.reason)
    except web.HTTPNotFound:
        return error_response(404, "Object Not Found", "Not Found")
    except web.HTTPException as error:
        response = error_response(error.status, ERROR_NAMES.get(error.status, "bad_request"), error.reason)
        if "Allow" in error.headers:
            response.headers["Allow"] = error.headers["Allow"]
        return response
    except Exception:
        log.exception("%s %s failed", request.method, request.path)
        return error_response(500, ERROR_NAMES[500], "the node's log says more")


# ------------------------------------------------------------------------------------------------ who asks


asking: ContextVar[Actor] = ContextVar("asking")
"""Who asks, in the task that answers. (What a request can carry along differs between aiohttp's versions.)"""


def authentication(authenticate: Authenticate) -> Middleware:
    """The middleware that finds out who asks before anything is done."""

    @web.middleware
    async def identify(request: web.Request, handler: Handler) -> web.StreamResponse:
        asking.set(await authenticate(request))
        return await handler(request)

    return identify


def actor() -> Actor:
    """Who asks, for the handler of a request."""
    return asking.get()


# ---------------------------------------------------------------------------------------------- operations


class Outcome(Generic[T]):
    """An operation's `done` that can be awaited: `await done.result()`."""

    def __init__(self) -> None:
        self.future: asyncio.Future[T | AmqpError] = asyncio.get_running_loop().create_future()

    def __call__(self, outcome: T | AmqpError) -> None:
        # A stop cancels who waits here; the commit may still come in.
        if not self.future.done():
            self.future.set_result(outcome)

    async def result(self) -> T:
        """What the operation answers; raises the AmqpError that it answers with."""
        outcome = await self.future
        if isinstance(outcome, AmqpError):
            raise outcome
        return outcome


# ----------------------------------------------------------------------------------------- what requests hold


def query_flag(request: web.Request, name: str) -> bool:
    """Is this condition asked for? `?if-unused=true`."""
    return request.query.get(name) == "true"


def name_in_path(request: web.Request, part: str) -> str:
    """A name out of the path, which may become one on the wire."""
    return short(request.match_info[part], part)


def short(value: str, what: str) -> str:
    """The text itself, if AMQP can carry it as a short string."""
    try:
        size = len(value.encode("utf-8"))
    except UnicodeEncodeError:
        raise Refusal(400, f"{what} is not valid UTF-8") from None
    if size > SHORTSTR_MAX:
        raise Refusal(400, f"{what} is longer than {SHORTSTR_MAX} octets")
    return value


async def read_object(request: web.Request) -> dict[str, Any]:
    """The body as a JSON object; no body at all is an empty one."""
    data = await request.read()
    if not data.strip():
        return {}
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise Refusal(400, f"the body is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise Refusal(400, "the body is not a JSON object")
    return value


def text(body: dict[str, Any], key: str, default: str | None = None) -> str:
    """A string of the body; without a default it has to be there."""
    value = body.get(key, default)
    if value is None:
        raise Refusal(400, f"'{key}' is missing")
    if not isinstance(value, str):
        raise Refusal(400, f"'{key}' is not a string")
    return short(value, f"'{key}'") if key == "routing_key" else value


def flag(body: dict[str, Any], key: str) -> bool:
    """A boolean of the body, false by default; RabbitMQ reads "true" and "false" too."""
    value = body.get(key, False)
    if value in ("true", "false"):
        return bool(value == "true")
    if not isinstance(value, bool):
        raise Refusal(400, f"'{key}' is not a boolean")
    return value


def table(body: dict[str, Any], key: str) -> Table:
    """A field table of the body, empty by default."""
    value = body.get(key, {})
    # PHP's JSON has [] for an empty object.
    if value == []:
        value = {}
    if not isinstance(value, dict):
        raise Refusal(400, f"'{key}' is not an object")
    try:
        return from_json(value)
    except TableError as error:
        raise Refusal(400, f"'{key}': {error}") from None


def octets(body: dict[str, Any], key: str) -> bytes:
    """Octets of the body, in base64."""
    try:
        return base64.b64decode(text(body, key), validate=True)
    except (binascii.Error, ValueError):
        raise Refusal(400, f"'{key}' is not base64") from None
