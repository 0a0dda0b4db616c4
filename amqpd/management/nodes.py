"""The node itself over HTTP.

/api/overview          GET
/api/nodes[/NAME]      GET
/api/whoami            GET
/api/node/stop         PUT: an orderly stop; answers 202 and the process to wait for. Ours alone: RabbitMQ has none
"""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from time import time

from aiohttp import web

from amqpd.core.broker import Broker
from amqpd.core.exchanges.base import TYPES
from amqpd.management import lists
from amqpd.management.about import NodeInfo
from amqpd.management.conventions import actor, json_response, not_found
from amqpd.management.lists import Item, slices

__all__ = ["Nodes"]


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
            web.put("/api/node/stop", self.stop),
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
            "mem_alarm": False,
            "disk_free_alarm": False,
            **process_figures(node),
        }

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

    async def stop(self, request: web.Request) -> web.Response:
        self.node.stop(f"asked to by '{actor().user}'")
        return json_response({"name": self.node.name, "os_pid": str(os.getpid())}, 202)


def process_figures(node: NodeInfo) -> Item:
    """What the system says about this process and its disk; what this system does not say is not there."""
    figures: Item = {}
    with suppress(OSError):
        figures["disk_free"] = shutil.disk_usage(node.data_dir).free
    with suppress(OSError):
        figures["fd_used"] = len(os.listdir("/proc/self/fd"))
    with suppress(OSError), open("/proc/self/statm", encoding="ascii") as statm:
        figures["mem_used"] = int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    # Windows has no such module.
    with suppress(ImportError):
        import resource

        figures["fd_total"] = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return figures
