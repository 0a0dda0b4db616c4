"""The node itself over HTTP.

/api/overview                               GET
/api/nodes[/NAME]                           GET
/api/whoami                                 GET
/api/health/checks/alarms, local-alarms     GET: 200, or 503 when an alarm is on
/api/node/stop                              PUT: an orderly stop; answers 202 and the process to wait for
/api/node/memory-high-watermark             PUT {"relative": 0.4} or {"absolute": 2000000000}, until the next start
/api/node/disk-free-limit                   PUT, likewise

What is under /api/node is ours alone: RabbitMQ has no routes for it.
"""

from __future__ import annotations

import os
from contextlib import suppress
from time import time
from typing import Any

from aiohttp import web

from amqpd.core.alarms import DISK, MEMORY
from amqpd.core.broker import Broker
from amqpd.core.exchanges.base import TYPES
from amqpd.management import lists
from amqpd.management.about import NodeInfo
from amqpd.management.conventions import Refusal, actor, json_response, not_found, read_object
from amqpd.management.lists import Item, slices
from amqpd.server.resources import Threshold

__all__ = ["Nodes"]

RESOURCE_NAMES = {MEMORY: "memory", DISK: "disk space"}
"""What health checks call them."""

OCTETS_MAX = 1 << 63
FRACTION_MAX = 1e6


class Nodes:
    """The routes of the node as a whole."""

    def __init__(self, broker: Broker, node: NodeInfo) -> None:
        self.broker = broker
        self.node = node

    def routes(self) -> list[web.RouteDef]:
        """All of them."""
        return [
            web.get("/api/overview", self.overview),
            web.get("/api/nodes", self.list_nodes),
            web.get("/api/nodes/{name:[^/]+}", self.get_node),
            web.get("/api/whoami", self.whoami),
            web.get("/api/health/checks/alarms", self.check_alarms),
            web.get("/api/health/checks/local-alarms", self.check_alarms),
            web.put("/api/node/stop", self.stop),
            web.put("/api/node/memory-high-watermark", self.set_memory_watermark),
            web.put("/api/node/disk-free-limit", self.set_disk_limit),
        ]

    async def overview(self, request: web.Request) -> web.Response:
        node = self.node
        types = sorted([*TYPES, *self.broker.exchange_types])
        item: Item = {
            "management_version": node.product_version,
            "rates_mode": "none",
            "product_name": node.product_name,
            "product_version": node.product_version,
            "rabbitmq_version": node.product_version,
            "amqpd_version": node.version,
            "cluster_name": node.cluster_name,
            "node": node.name,
            "exchange_types": [{"name": name, "description": "", "enabled": True} for name in types],
            **await self.totals(),
            "statistics_db_event_queue": 0,
            "listeners": [{"node": node.name, **listener._asdict()} for listener in node.listeners],
            "contexts": [],
        }
        return json_response(lists.only_columns(request, item))

    async def totals(self) -> Item:
        """How much there is of everything."""
        vhosts = list(self.broker.vhosts.values())
        queues = [queue for vhost in vhosts for queue in vhost.queues.values()]
        ready = unacked = consumers = 0
        async for queue in slices(queues):
            queue.catch_up()
            ready += queue.ready
            unacked += queue.unacked
            consumers += len(queue.rota.members)
        connections = list(self.broker.connections)
        return {
            "queue_totals": {
                "messages": ready + unacked,
                "messages_ready": ready,
                "messages_unacknowledged": unacked,
            },
            "object_totals": {
                "connections": len(connections),
                "channels": sum(len(connection.channels_info()) for connection in connections),
                "consumers": consumers,
                "queues": len(queues),
                # Each virtual host has one more, without a name.
                "exchanges": sum(1 + len(vhost.exchanges) for vhost in vhosts),
            },
        }

    def show(self, node: NodeInfo) -> Item:
        """The node; there is one."""
        return {
            "name": node.name,
            "type": "disc",
            "running": True,
            "os_pid": str(os.getpid()),
            "uptime": int((time() - node.started_at) * 1000),
            "processors": os.cpu_count(),
            "rates_mode": "none",
            "db_dir": str(node.data_dir),
            "sockets_used": len(self.broker.connections),
            "partitions": [],
            **self.resource_figures(),
            **process_figures(),
        }

    def resource_figures(self) -> Item:
        """Memory, disk, and what is short."""
        resources, short = self.node.resources, self.broker.alarms.figures
        figures: Item = {
            "mem_used": resources.probes.memory_used(),
            "mem_limit": resources.memory_limit,
            "mem_alarm": MEMORY in short,
            "mem_calculation_strategy": "rss",
            "disk_free_limit": resources.disk_limit,
            "disk_free_alarm": DISK in short,
            "alarms": dict(short),
        }
        with suppress(OSError):
            figures["disk_free"] = resources.probes.disk_free(resources.directory)
        return figures

    async def list_nodes(self, request: web.Request) -> web.StreamResponse:
        return await lists.respond(request, [self.node], self.show)

    async def get_node(self, request: web.Request) -> web.Response:
        if request.match_info["name"] != self.node.name:
            raise not_found()
        return json_response(lists.only_columns(request, self.show(self.node)))

    async def whoami(self, request: web.Request) -> web.Response:
        who = actor()
        tags = sorted(who.access.tags(who.user))
        return json_response({"name": who.user, "tags": tags, "is_internal_user": True})

    async def check_alarms(self, request: web.Request) -> web.Response:
        short = self.broker.alarms.figures
        if not short:
            return json_response({"status": "ok"})
        where = "on the node" if request.path.endswith("local-alarms") else "in the cluster"
        alarms = [{"node": self.node.name, "resource": RESOURCE_NAMES[resource]} for resource in short]
        reason = f"There are alarms in effect {where}"
        return json_response({"status": "failed", "reason": reason, "alarms": alarms}, 503)

    async def set_memory_watermark(self, request: web.Request) -> web.Response:
        self.node.resources.set_memory(threshold(await read_object(request), 1.0))
        return web.Response(status=204)

    async def set_disk_limit(self, request: web.Request) -> web.Response:
        self.node.resources.set_disk(threshold(await read_object(request), None))
        return web.Response(status=204)

    async def stop(self, request: web.Request) -> web.Response:
        self.node.stop(f"asked to by '{actor().user}'")
        return json_response({"name": self.node.name, "os_pid": str(os.getpid())}, 202)


def threshold(body: dict[str, Any], most: float | None) -> Threshold:
    """The limit that a body asks for, as octets or as a fraction up to `most`."""
    octets, fraction = body.get("absolute"), body.get("relative")
    if (octets is None) is (fraction is None):
        raise Refusal(400, "either 'absolute' or 'relative' is needed")
    if fraction is not None:
        if isinstance(fraction, bool) or not isinstance(fraction, int | float) or not fraction >= 0:
            raise Refusal(400, "'relative' is not a fraction of 0 or more")
        if most is not None and fraction > most:
            raise Refusal(400, f"The threshold should be a fraction between 0.0 and {most}")
        return Threshold(fraction=min(float(fraction), FRACTION_MAX))
    if isinstance(octets, bool) or not isinstance(octets, int) or octets < 0:
        raise Refusal(400, "'absolute' is not a number of octets")
    return Threshold(octets=min(octets, OCTETS_MAX))


def process_figures() -> Item:
    """What the system says about this process; what this system does not say is not there."""
    figures: Item = {}
    with suppress(OSError):
        figures["fd_used"] = len(os.listdir("/proc/self/fd"))
    # Windows has no such module.
    with suppress(ImportError):
        import resource

        figures["fd_total"] = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return figures
