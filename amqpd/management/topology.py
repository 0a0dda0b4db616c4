"""Exchanges, queues and bindings over HTTP.

    /api/exchanges[/VHOST[/NAME]]                          GET, PUT, DELETE ?if-unused
    /api/queues[/VHOST[/NAME]]                             GET, PUT, DELETE ?if-unused, ?if-empty
    /api/queues/VHOST/NAME/contents                        DELETE: purge
    /api/bindings[/VHOST]                                  GET
    /api/bindings/VHOST/e/SOURCE/(q|e)/DESTINATION         GET, POST
    /api/bindings/VHOST/e/SOURCE/(q|e)/DESTINATION/PROPS   GET, DELETE

Names are percent-encoded; the exchange without a name is `amq.default`. DELETE of a queue says in the header X-Messages
how many messages were ready in it.
"""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import quote, unquote_plus

from aiohttp import web

from amqpd.core import operations
from amqpd.core.broker import Broker
from amqpd.core.exchanges.base import Binding, Exchange
from amqpd.core.queues.queue import Queue
from amqpd.core.vhost import VHost
from amqpd.management import fields, lists
from amqpd.management.conventions import (
    Outcome,
    actor,
    flag,
    json_response,
    name_in_path,
    not_found,
    query_flag,
    read_object,
    stored,
    table,
    text,
)
from amqpd.management.lists import Item

__all__ = ["Topology", "exchange_name"]

DEFAULT_EXCHANGE = "amq.default"

BINDING_ORDER = ("vhost", "source", "destination_type", "destination", "routing_key", "properties_key")


def exchange_name(request: web.Request, part: str = "name") -> str:
    """The name of an exchange in the path, as the model has it."""
    name = name_in_path(request, part)
    return "" if name == DEFAULT_EXCHANGE else name


class Topology:
    """The routes of what messages go through."""

    def __init__(self, broker: Broker, node: str) -> None:
        self.broker = broker
        self.node = node

    def routes(self) -> list[web.RouteDef]:
        """All of them."""
        exchange, queue = "/api/exchanges/{vhost:[^/]+}/{name:[^/]+}", "/api/queues/{vhost:[^/]+}/{name:[^/]+}"
        ends = "/api/bindings/{vhost:[^/]+}/e/{source:[^/]+}/{kind:[qe]}/{destination:[^/]+}"
        return [
            web.get("/api/exchanges", self.list_exchanges),
            web.get("/api/exchanges/{vhost:[^/]+}", self.list_exchanges),
            web.get(exchange, self.get_exchange),
            web.put(exchange, self.put_exchange),
            web.delete(exchange, self.delete_exchange),
            web.get("/api/queues", self.list_queues),
            web.get("/api/queues/{vhost:[^/]+}", self.list_queues),
            web.get(queue, self.get_queue),
            web.put(queue, self.put_queue),
            web.delete(queue, self.delete_queue),
            web.delete(f"{queue}/contents", self.purge_queue),
            web.get("/api/bindings", self.list_bindings),
            web.get("/api/bindings/{vhost:[^/]+}", self.list_bindings),
            web.get(ends, self.list_bindings_between),
            web.post(ends, self.post_binding),
            web.get(f"{ends}/{{props:[^/]+}}", self.get_binding),
            web.delete(f"{ends}/{{props:[^/]+}}", self.delete_binding),
        ]

    def vhost(self, request: web.Request) -> VHost:
        """The virtual host in the path."""
        vhost = self.broker.vhosts.get(request.match_info["vhost"])
        if vhost is None:
            raise not_found()
        return vhost

    def vhosts(self, request: web.Request) -> Iterable[VHost]:
        """The virtual host in the path, or all."""
        return [self.vhost(request)] if "vhost" in request.match_info else self.broker.vhosts.values()

    # ------------------------------------------------------------------------------------------- exchanges

    async def list_exchanges(self, request: web.Request) -> web.StreamResponse:
        exchanges: list[VHost | Exchange] = []
        for vhost in self.vhosts(request):
            exchanges += [vhost, *vhost.exchanges.values()]
        return await lists.respond(request, exchanges, self.show_exchange)

    def show_exchange(self, found: VHost | Exchange) -> Item:
        """An exchange; a virtual host stands for its default exchange."""
        if isinstance(found, VHost):
            return fields.default_exchange(found.name, found.delays.get(""))
        vhost = self.broker.vhosts.get(found.vhost)
        return fields.exchange(found, vhost.delays.get(found.name) if vhost is not None else None)

    def exchange(self, request: web.Request) -> VHost | Exchange:
        """The exchange in the path, the virtual host standing for its default exchange."""
        vhost, name = self.vhost(request), exchange_name(request)
        found = vhost.exchanges.get(name) if name else vhost
        if found is None:
            raise not_found()
        return found

    async def get_exchange(self, request: web.Request) -> web.Response:
        item = self.show_exchange(self.exchange(request))
        return json_response(lists.only_columns(request, item))

    async def put_exchange(self, request: web.Request) -> web.Response:
        vhost, name, body = self.vhost(request), exchange_name(request), await read_object(request)
        existed, done = name in vhost.exchanges, Outcome[None]()
        operations.declare_exchange(
            self.broker,
            vhost,
            actor(),
            name,
            text(body, "type", "direct"),
            durable=flag(body, "durable"),
            auto_delete=flag(body, "auto_delete"),
            internal=flag(body, "internal"),
            arguments=table(body, "arguments"),
            done=done,
        )
        await done.result()
        return stored(existed)

    async def delete_exchange(self, request: web.Request) -> web.Response:
        vhost, name, done = self.vhost(request), exchange_name(request), Outcome[None]()
        self.exchange(request)
        unused = query_flag(request, "if-unused")
        operations.delete_exchange(self.broker, vhost, actor(), name, if_unused=unused, done=done)
        await done.result()
        return web.Response(status=204)

    # ---------------------------------------------------------------------------------------------- queues

    async def list_queues(self, request: web.Request) -> web.StreamResponse:
        queues = [queue for vhost in self.vhosts(request) for queue in vhost.queues.values()]
        return await lists.respond(request, queues, lambda queue: fields.queue(queue, self.node))

    def queue(self, request: web.Request) -> Queue:
        """The queue in the path."""
        queue = self.vhost(request).queues.get(name_in_path(request, "name"))
        if queue is None:
            raise not_found()
        return queue

    async def get_queue(self, request: web.Request) -> web.Response:
        queue = self.queue(request)
        item = fields.queue(queue, self.node)
        item["consumer_details"] = [fields.consumer(consumer, self.node) for consumer in queue.rota.members]
        return json_response(lists.only_columns(request, item))

    async def put_queue(self, request: web.Request) -> web.Response:
        vhost, name, body = self.vhost(request), name_in_path(request, "name"), await read_object(request)
        existed, done = name in vhost.queues, Outcome[operations.DeclaredQueue]()
        operations.declare_queue(
            self.broker,
            vhost,
            actor(),
            name,
            durable=flag(body, "durable"),
            # A connection owns an exclusive queue, and nobody here has one.
            exclusive=False,
            auto_delete=flag(body, "auto_delete"),
            arguments=table(body, "arguments"),
            done=done,
        )
        await done.result()
        return stored(existed)

    async def delete_queue(self, request: web.Request) -> web.Response:
        vhost, queue, done = self.vhost(request), self.queue(request), Outcome[int]()
        operations.delete_queue(
            self.broker,
            vhost,
            actor(),
            queue.name,
            if_unused=query_flag(request, "if-unused"),
            if_empty=query_flag(request, "if-empty"),
            done=done,
        )
        return web.Response(status=204, headers={"X-Messages": str(await done.result())})

    async def purge_queue(self, request: web.Request) -> web.Response:
        operations.purge_queue(self.vhost(request), actor(), self.queue(request).name)
        return web.Response(status=204)

    # -------------------------------------------------------------------------------------------- bindings

    async def list_bindings(self, request: web.Request) -> web.StreamResponse:
        bindings: list[Queue | Binding] = []
        for vhost in self.vhosts(request):
            bindings += vhost.queues.values()
            for exchange in vhost.exchanges.values():
                bindings += exchange.outgoing.values()
        return await lists.respond(request, bindings, self.show_binding, BINDING_ORDER)

    def show_binding(self, found: Queue | Binding) -> Item:
        """A binding; a queue stands for its own to the default exchange."""
        return fields.default_binding(found) if isinstance(found, Queue) else fields.binding(found)

    def between(self, request: web.Request) -> list[Queue | Binding]:
        """The bindings between the two ends in the path, a queue standing for its own to the default exchange."""
        vhost, source_name = self.vhost(request), exchange_name(request, "source")
        kind, name = self.destination(request)
        destination = (vhost.queues if kind == "queue" else vhost.exchanges).get(name)
        if not source_name and isinstance(destination, Queue):
            return [destination]
        source = vhost.exchanges.get(source_name)
        if source is None or destination is None:
            raise not_found()
        return [binding for binding in source.outgoing.values() if binding.destination is destination]

    def destination(self, request: web.Request) -> tuple[str, str]:
        """Kind and name of the destination in the path."""
        if request.match_info["kind"] == "e":
            return "exchange", exchange_name(request, "destination")
        return "queue", name_in_path(request, "destination")

    def binding(self, request: web.Request) -> Queue | Binding:
        """The one binding in the path. Its properties key may have been encoded once more for the path, or not."""
        found = {str(self.show_binding(binding)["properties_key"]): binding for binding in self.between(request)}
        props = request.match_info["props"]
        if props in found:
            return found[props]
        for key, binding in found.items():
            if unquote_plus(key) == props:
                return binding
        raise not_found()

    async def list_bindings_between(self, request: web.Request) -> web.StreamResponse:
        return await lists.respond(request, self.between(request), self.show_binding, BINDING_ORDER)

    async def post_binding(self, request: web.Request) -> web.Response:
        vhost, source, body = self.vhost(request), exchange_name(request, "source"), await read_object(request)
        kind, destination = self.destination(request)
        key, arguments = text(body, "routing_key", ""), table(body, "arguments")
        done = Outcome[None]()
        operations.bind(self.broker, vhost, actor(), source, kind, destination, key, arguments, done)
        await done.result()
        location = f"{quote(destination, safe='')}/{quote(fields.properties_key(key, arguments), safe='')}"
        return web.Response(status=201, headers={"Location": location})

    async def get_binding(self, request: web.Request) -> web.Response:
        item = self.show_binding(self.binding(request))
        return json_response(lists.only_columns(request, item))

    async def delete_binding(self, request: web.Request) -> web.Response:
        vhost, source, found = self.vhost(request), exchange_name(request, "source"), self.binding(request)
        kind, destination = self.destination(request)
        # A queue stands for its binding to the default exchange, which the operation refuses to take away.
        key, arguments = (found.name, {}) if isinstance(found, Queue) else (found.routing_key, found.arguments)
        done = Outcome[None]()
        operations.unbind(self.broker, vhost, actor(), source, kind, destination, key, arguments, done)
        await done.result()
        return web.Response(status=204)
