"""The control surface's server: one application of routes, served on the control socket.

Whoever can open that socket is administrator: its mode, 0600, is the whole of its authentication. `application` builds
the same routes for any other way of finding out who asks.
"""

from __future__ import annotations

import socket

from aiohttp import web

from amqpd.auth.access import Unrestricted
from amqpd.auth.users import UserStore
from amqpd.core.broker import Broker
from amqpd.core.operations import Actor
from amqpd.management.about import NodeInfo
from amqpd.management.administration import Administration
from amqpd.management.clients import Clients
from amqpd.management.conventions import Authenticate, authentication, errors
from amqpd.management.definitions import Definitions
from amqpd.management.delayed import Delayed
from amqpd.management.limits import Limits
from amqpd.management.nodes import Nodes
from amqpd.management.parameters import Parameters
from amqpd.management.routing import Routing
from amqpd.management.topology import Topology

__all__ = ["Management", "application"]

ADMINISTRATOR = "amqpctl"
"""The name of who asks through the control socket; no user of the database."""

STOP_GRACE = 2.0
"""Seconds that requests under way have at a stop."""


def application(broker: Broker, users: UserStore, node: NodeInfo, authenticate: Authenticate) -> web.Application:
    """The whole API, for those whom `authenticate` lets in."""
    app = web.Application(middlewares=[errors, authentication(authenticate)])
    app.router.add_routes(Nodes(broker, node).routes())
    app.router.add_routes(Topology(broker, node.name).routes())
    app.router.add_routes(Routing(broker).routes())
    app.router.add_routes(Delayed(broker).routes())
    app.router.add_routes(Clients(broker, node.name).routes())
    app.router.add_routes(Administration(broker, users, node.name).routes())
    app.router.add_routes(Parameters(broker).routes())
    app.router.add_routes(Limits(broker, users).routes())
    app.router.add_routes(Definitions(broker, users, node).routes())
    return app


class Management:
    """The API on the control socket, from `start` to `stop`."""

    def __init__(self, broker: Broker, users: UserStore, node: NodeInfo) -> None:
        administrator = Actor(ADMINISTRATOR, Unrestricted())

        async def authenticate(request: web.Request) -> Actor:
            return administrator

        app = application(broker, users, node, authenticate)
        self.runner = web.AppRunner(app, handle_signals=False, access_log=None, shutdown_timeout=STOP_GRACE)

    async def start(self, control: socket.socket) -> None:
        """Serve on this socket, which is bound."""
        await self.runner.setup()
        await web.SockSite(self.runner, control).start()

    async def stop(self) -> None:
        """Serve no more, once the requests under way are answered."""
        await self.runner.cleanup()
