"""The composition root: the only module that knows everyone.

    start   settings -> log -> plugins -> lock and open the data directory -> catalog -> journal -> broker -> resources
            -> listeners -> control
    stop    listeners close -> connections are told 320 and go -> what has grown is committed -> the log is marked clean

A signal asks for one of these: SIGTERM and SIGINT stop, SIGHUP reads the configuration again and takes over what the
schema calls reloadable, or keeps what is in force when the new one is bad.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import platform
import signal
import socket
import sys
from collections.abc import Callable
from importlib import import_module
from time import time
from typing import TYPE_CHECKING

from amqpd import __version__, definitions
from amqpd.auth.access import InternalAccess
from amqpd.auth.authenticator import InternalAuthenticator
from amqpd.auth.bootstrap import bootstrap
from amqpd.auth.events import observer
from amqpd.auth.users import UserStore
from amqpd.config.errors import ConfigError
from amqpd.config.log_lines import TextFormatter
from amqpd.config.logs import HOUSE, configure
from amqpd.config.schema import LEVELS
from amqpd.config.settings import Settings
from amqpd.core import operations
from amqpd.core.arguments import Redeclare
from amqpd.core.broker import Broker
from amqpd.core.events import EVENTS, EventExchange
from amqpd.core.exchanges.missing import Missing
from amqpd.core.ports import VHostRow
from amqpd.core.turn import Turn
from amqpd.definitions.defaults import Defaults
from amqpd.errors import AmqpError
from amqpd.management.about import Listener, NodeInfo
from amqpd.management.control import ControlSocket
from amqpd.plugins import loader
from amqpd.plugins.loader import Plugins
from amqpd.protocol.settings import SessionSettings
from amqpd.server.listener import AmqpServer, address
from amqpd.server.log_exchange import LOG, LogExchange
from amqpd.server.resources import Limits, Resources, Threshold
from amqpd.server.transport import SocketOptions, now, wall
from amqpd.storage.errors import StorageError
from amqpd.storage.store import Store, collector_off, open_store
from amqpd.wire.tables import Table, boolean, longstr, subtable

if TYPE_CHECKING:
    from amqpd.management.server import Management

__all__ = ["Node", "run"]

log = logging.getLogger("amqpd")

CLOSE_GRACE = 3.0
"""Seconds that clients have to answer connection.close at a stop."""

EX_DATAERR = 65
EX_IOERR = 74
EX_TEMPFAIL = 75

CAPABILITIES = (
    "publisher_confirms",
    "exchange_exchange_bindings",
    "basic.nack",
    "consumer_cancel_notify",
    "connection.blocked",
    "consumer_priorities",
    "authentication_failure_close",
    "per_consumer_qos",
    "direct_reply_to",
)


def cluster_name(settings: Settings) -> str:
    """What the node calls itself."""
    return settings.text("cluster_name") or f"amqpd@{socket.gethostname()}"


def server_properties(settings: Settings) -> Table:
    """What connection.start says; product and version are those that clients look for."""
    return {
        "capabilities": subtable({name: boolean(True) for name in CAPABILITIES}),
        "cluster_name": longstr(cluster_name(settings)),
        "copyright": longstr("Copyright (c) 2026 The amqpd authors"),
        "information": longstr(f"amqpd {__version__}, licensed under the MIT license"),
        "platform": longstr(f"{platform.python_implementation()} {platform.python_version()}"),
        "product": longstr(settings.text("product.name")),
        "version": longstr(settings.text("product.version")),
    }


def apply_settings(settings: Settings, target: SessionSettings) -> None:
    """Bring what sessions are told up to date."""
    target.frame_max = settings.integer("frame_max")
    target.initial_frame_max = settings.integer("initial_frame_max")
    target.channel_max = settings.integer("channel_max")
    target.heartbeat = settings.integer("heartbeat")
    target.handshake_timeout = settings.integer("handshake_timeout")
    target.max_message_size = settings.integer("max_message_size")
    target.max_connections = settings.limit("max_connections")
    target.consumer_max_per_channel = settings.limit("consumer_max_per_channel")
    target.consumer_timeout = settings.limit("consumer_timeout")
    target.consumer_timeout_closes = settings.text("consumer_timeout.action") == "close_channel"
    target.qos_update_existing_consumers = settings.flag("qos.update_existing_consumers")
    target.server_properties = server_properties(settings)


def apply_to_broker(settings: Settings, broker: Broker, users: UserStore) -> None:
    """Bring what the model is told up to date."""
    broker.fill_vhost = Defaults(
        broker,
        users,
        limits=settings.groups("default_limits.vhosts"),
        policies=settings.groups("default_policies.operator"),
        users_of=settings.groups("default_users"),
    ).fill
    broker.default_queue_type = settings.text("default_queue_type")
    broker.redeclare = Redeclare(
        settings.text("redeclare") == "relaxed",
        settings.flag("quorum_queue.property_equivalence.relaxed_checks_on_redeclaration"),
    )


def event_vhost(settings: Settings) -> str:
    """The virtual host whose event exchange it is."""
    return settings.text("event_exchange.vhost") or settings.text("default_vhost")


def system_exchanges(settings: Settings) -> dict[str, list[str]]:
    """The exchanges through which the node tells of itself, by virtual host."""
    found: dict[str, list[str]] = {}
    if settings.flag("event_exchange.enabled"):
        found.setdefault(event_vhost(settings), []).append(EVENTS)
    if settings.flag("log.exchange"):
        found.setdefault(settings.text("default_vhost"), []).append(LOG)
    return found


def resource_limits(settings: Settings) -> Limits:
    """The limits of memory and disk."""
    return Limits(
        Threshold(*settings.threshold("vm_memory_high_watermark")),
        Threshold(*settings.threshold("disk_free_limit")),
        settings.limit("total_memory_available_override_value"),
        settings.integer("memory_monitor_interval"),
    )


class Node:
    """A running broker. `read` reads the configuration again."""

    def __init__(self, settings: Settings, read: Callable[[], Settings]) -> None:
        self.settings = settings
        self.read = read
        self.name = f"amqpd@{socket.gethostname()}"
        self.started_at = time()
        self.stopping = asyncio.Event()
        self.exit_code = 0
        self.session_settings = SessionSettings()
        self.alarm: asyncio.TimerHandle | None = None
        self.alarm_time = 0
        self.control = ControlSocket(settings.data_dir / "control.sock", self.serve_control)
        self.log_exchange: LogExchange | None = None
        self.plugins: Plugins
        self.store: Store
        self.broker: Broker
        self.users: UserStore
        self.server: AmqpServer
        self.resources: Resources

    # --------------------------------------------------------------------------------------------- start

    async def start(self) -> None:
        """From settings to accepting connections. StorageError, OSError when that cannot be."""
        settings = self.settings
        log.info("Starting amqpd %s on %s %s", __version__, platform.python_implementation(), sys.version.split()[0])
        for warning in settings.warnings:
            log.warning("%s", warning)
        log.info("data directory: %s", settings.data_dir)
        self.plugins = loader.load()
        self.open_broker()
        self.resources = Resources(self.name, settings.data_dir, self.broker.alarms, resource_limits(settings))
        self.resources.start()
        apply_settings(settings, self.session_settings)
        apply_to_broker(settings, self.broker, self.users)
        await self.fill()
        self.talk()
        authenticator = InternalAuthenticator(self.users, settings.mechanisms, settings.loopback_users)
        options = SocketOptions(
            settings.flag("tcp_listen_options.nodelay"), settings.flag("tcp_listen_options.keepalive")
        )
        self.server = AmqpServer(self.broker, authenticator, self.session_settings, options)
        await self.server.listen(settings.listeners, settings.integer("tcp_listen_options.backlog"))
        self.control.open()
        self.watch_signals()
        if hasattr(gc, "freeze"):
            # What has been loaded by now lives as long as the process: the collector need not look at it again.
            gc.collect()
            gc.freeze()
        for host, port in self.server.listening[:1]:
            name = "localhost" if host in ("::", "0.0.0.0") else host
            log.info("clients connect to amqp://%s/", address(name, port))
        log.info("Server startup complete; %d plugins started.", len(self.plugins.names))

    def talk(self) -> None:
        """From now on the node tells of itself through system exchanges, as far as it is to."""
        settings = self.settings
        if settings.flag("event_exchange.enabled"):
            self.users.observe = observer(EventExchange(self.broker, event_vhost(settings)).emit)
        if settings.flag("log.exchange"):
            handler = LogExchange(self.broker, settings.text("default_vhost"), asyncio.get_running_loop())
            handler.setLevel(LEVELS[settings.text("log.exchange.level")])
            handler.setFormatter(TextFormatter())
            logging.getLogger(HOUSE).addHandler(handler)
            self.log_exchange = handler

    def open_broker(self) -> None:
        """Open the data directory and build the model from what is in it."""
        loop = asyncio.get_running_loop()
        opened = open_store(
            self.settings.data_dir,
            loop.call_soon_threadsafe,
            self.storage_failed,
            segment_octets=self.settings.integer("journal.segment_size"),
        )
        self.store, snapshot = opened.store, opened.snapshot
        for torn in opened.torn:
            log.warning("the last batch of a log was not complete and has been cut off: %s", torn)
        turn = Turn(self.schedule_turn, self.wake_at, self.store.journal)
        self.tell_time(turn)
        self.users = UserStore(
            snapshot,
            self.store.catalog,
            lambda name: name in self.broker.vhosts,
            self.settings.text("password_hashing_module"),
        )
        self.broker = Broker(
            turn,
            self.store.journal,
            self.store.catalog,
            InternalAccess(self.users),
            self.plugins.exchange_types,
            streams=self.store.streams,
        )
        self.broker.node_name = self.name
        self.broker.system_exchanges = system_exchanges(self.settings)
        self.broker.restore(snapshot, opened.messages, opened.next_message_id)
        self.warn_of_missing_types()
        self.users.on_change(self.access_changed)
        self.broker.on_vhost_deleted(self.users.vhost_deleted)
        count = sum(map(len, opened.messages.values()))
        log.info(
            "recovered %d durable queues with %d messages after %s",
            len(snapshot.queues),
            count,
            "an orderly stop" if opened.clean else "a crash",
        )

    def warn_of_missing_types(self) -> None:
        """Say which exchanges cannot route, and what to do about it."""
        for vhost in self.broker.vhosts.values():
            for exchange in vhost.exchanges.values():
                if isinstance(exchange.type, Missing):
                    log.warning(
                        "%s refuses messages: there is no exchange type '%s' that takes its arguments. Install the "
                        "plugin that it was declared with and restart, or delete the exchange",
                        exchange.type.exchange,
                        exchange.kind,
                    )

    def schedule_turn(self) -> None:
        asyncio.get_running_loop().call_soon(self.run_turn)

    def run_turn(self) -> None:
        self.tell_time(self.broker.turn)
        self.broker.turn.run()

    def tell_time(self, turn: Turn) -> None:
        """Both times: the wall clock may have been set since the last turn."""
        turn.now = now()
        turn.wall = wall() - turn.now

    def wake_at(self, time: int) -> None:
        """Have a turn run at this time."""
        if self.alarm is not None:
            if self.alarm_time <= time:
                return
            self.alarm.cancel()
        self.alarm_time = time
        self.alarm = asyncio.get_running_loop().call_later(max(0, time - now()) / 1000, self.alarmed)

    def alarmed(self) -> None:
        self.alarm = None
        self.run_turn()

    def access_changed(self, user: str, vhost: str | None) -> None:
        self.broker.access_changed(user, vhost)
        if vhost is None and self.users.find_user(user) is None:
            self.broker.close_connections(f"user '{user}' was deleted", user=user)

    async def fill(self) -> None:
        """What is to be there at a start: definitions, or the defaults of a first start."""
        path = self.settings.definitions
        if path is None:
            await self.create_defaults()
        else:
            with collector_off():
                await definitions.load(
                    self.broker, self.users, path, self.settings.flag("definitions.skip_if_unchanged")
                )

    async def create_defaults(self) -> None:
        """The virtual host and the user of a first start."""
        settings = self.settings
        if self.users.list_users() or self.broker.vhosts:
            return
        name = settings.text("default_vhost")
        await self.outcome(lambda done: operations.put_vhost(self.broker, VHostRow(name), done))
        permissions = (
            settings.text("default_permissions.configure"),
            settings.text("default_permissions.write"),
            settings.text("default_permissions.read"),
        )
        user = settings.text("default_user")
        await self.outcome(
            lambda done: bootstrap(
                self.users, user, settings.text("default_pass"), name, settings.default_user_tags, permissions, done
            )
        )
        log.info("created virtual host '%s' and user '%s'", name, user)

    async def outcome(self, operation: Callable[[Callable[[object], None]], object]) -> None:
        """Run an operation and wait for its answer. Raises the AmqpError it answers with."""
        future: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        operation(future.set_result)
        result = await future
        if isinstance(result, AmqpError):
            raise result

    async def serve_control(self, control: socket.socket) -> Management:
        """Answer on the control socket."""
        server = await asyncio.to_thread(import_module, "amqpd.management.server")
        settings = self.settings
        info = NodeInfo(
            name=self.name,
            cluster_name=cluster_name(settings),
            version=__version__,
            product_name=settings.text("product.name"),
            product_version=settings.text("product.version"),
            data_dir=settings.data_dir,
            started_at=self.started_at,
            listeners=[Listener("amqp", host, port) for host, port in self.server.listening],
            resources=self.resources,
            stop=self.stop,
        )
        management: Management = server.Management(self.broker, self.users, info)
        await management.start(control)
        return management

    # ----------------------------------------------------------------------------------------- while it runs

    def watch_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop, signal.Signals(number).name)
        loop.add_signal_handler(signal.SIGHUP, self.reload)

    def stop(self, why: str) -> None:
        """Ask for an orderly stop."""
        if not self.stopping.is_set():
            log.info("stopping: %s", why)
            self.stopping.set()

    def reload(self) -> None:
        """SIGHUP: take over what can be changed while running."""
        try:
            fresh = self.read()
            configure(fresh)
        except (ConfigError, OSError) as error:
            log.error("reload: the new configuration is bad, the old one stays in force:\n%s", error)
            return
        reloaded, restart = self.settings.changes(fresh)
        self.settings = fresh
        apply_settings(fresh, self.session_settings)
        self.resources.configure(resource_limits(fresh))
        apply_to_broker(fresh, self.broker, self.users)
        log.info("reload: %s", f"changed {', '.join(reloaded)}" if reloaded else "nothing that can be reloaded changed")
        if restart:
            log.warning("reload: these take a restart to count: %s", ", ".join(restart))

    def storage_failed(self, error: Exception) -> None:
        """The disk has refused a write. What was confirmed is safe; nothing more can be promised."""
        log.critical(
            "the data directory %s cannot be written (%s): no durable message is confirmed from now on. "
            "The node stops; mend the disk and start it again",
            self.settings.data_dir,
            error,
        )
        self.exit_code = EX_IOERR
        self.stopping.set()

    # ---------------------------------------------------------------------------------------------- stop

    async def close(self) -> None:
        """Everything in the reverse order of the start."""
        if self.log_exchange is not None:
            logging.getLogger(HOUSE).removeHandler(self.log_exchange)
        await self.control.close()
        self.resources.stop()
        await self.server.close("broker forced connection closure with reason 'shutdown'", CLOSE_GRACE)
        self.run_turn()
        self.store.close(clean=True)
        log.info("stopped")


async def serve(settings: Settings, read: Callable[[], Settings]) -> int:
    node = Node(settings, read)
    await node.start()
    await node.stopping.wait()
    await node.close()
    return node.exit_code


def run(settings: Settings, read: Callable[[], Settings]) -> int:
    """Run a node until it is stopped; the process's exit code."""
    try:
        configure(settings)
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            return runner.run(serve(settings, read))
    except definitions.DefinitionsError as error:
        log.critical("amqpd cannot start: %s", error)
        return EX_DATAERR
    except StorageError as error:
        log.critical("amqpd cannot start: %s", error)
        return EX_TEMPFAIL
    except OSError as error:
        log.critical("amqpd cannot start: %s", error)
        return EX_IOERR


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's loops when it is installed, else asyncio's."""
    try:
        factory: Callable[[], asyncio.AbstractEventLoop] = import_module("uvloop").new_event_loop
    except ImportError:
        return None
    return factory
