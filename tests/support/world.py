"""A broker in memory, and clients that talk to its sessions byte by byte: all real, but no socket and no clock."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from pamqp import body, commands, frame, header

from amqpd.core.broker import Broker
from amqpd.core.exchanges.base import Factory
from amqpd.core.ports import DELAYED, Identity, LoginRefused, VHostRow
from amqpd.core.turn import Turn
from amqpd.protocol.peer import Peer
from amqpd.protocol.session import Session
from amqpd.protocol.settings import SessionSettings
from amqpd.storage.journal.fold import Fold
from amqpd.storage.journal.journal import Journal
from amqpd.storage.memory import MemoryCatalog, MemoryEngine, MemoryStreams
from amqpd.wire import methods
from amqpd.wire.tables import boolean, from_json, longstr, subtable

__all__ = ["Client", "World"]

PLAIN = "\0guest\0guest"


class Rights:
    """Who may do what: everything, but for what a test takes away."""

    def __init__(self) -> None:
        self.refused: set[tuple[str, str]] = set()
        self.limits: dict[str, int] = {}

    def may_enter(self, user: str, vhost: str) -> bool:
        return ("enter", vhost) not in self.refused

    def allows(self, user: str, vhost: str, permission: str, resource: str) -> bool:
        return (permission, resource) not in self.refused

    def allows_topic(self, user: str, vhost: str, permission: str, exchange: str, routing_key: str) -> bool:
        return ("topic " + permission, routing_key) not in self.refused

    def tags(self, user: str) -> frozenset[str]:
        return frozenset()

    def limit(self, user: str, name: str) -> int | None:
        return self.limits.get(name)


class Logins:
    """Only guest with the password guest."""

    def mechanisms(self) -> list[str]:
        return ["PLAIN", "AMQPLAIN"]

    def login(self, mechanism: str, response: bytes, loopback: bool) -> Identity:
        if response.count(b"\0") != 2:
            raise LoginRefused("no PLAIN response", malformed=True)
        _, user, password = response.decode().split("\0")
        if password != "guest":
            raise LoginRefused(f"user '{user}' - invalid credentials", user)
        return Identity(user, frozenset())


class World:
    """One broker; `run` runs turns until there is nothing left to do."""

    def __init__(
        self,
        engine: MemoryEngine | None = None,
        catalog: MemoryCatalog | None = None,
        exchange_types: dict[str, Factory] | None = None,
        wall: int | None = None,
        streams: MemoryStreams | None = None,
    ) -> None:
        self.engine = engine or MemoryEngine()
        self.catalog = catalog or MemoryCatalog()
        self.failures: list[Exception] = []
        self.journal = Journal(self.engine, lambda: 0, self.failures.append)
        self.rights = Rights()
        # Nobody has to be told that a turn is due: `run` looks.
        self.turn = Turn(lambda: None, lambda time: None, self.journal)
        self.wall = WALL if wall is None else wall
        self.turn.wall = self.wall
        self.now = 0
        self.streams = streams or MemoryStreams(lambda: 0)
        self.streams.clock = lambda: self.wall + self.now
        self.broker = Broker(self.turn, self.journal, self.catalog, self.rights, exchange_types, streams=self.streams)
        snapshot = self.catalog.load()
        found = self.journal.recover({DELAYED, *(queue.id for queue in snapshot.queues)})
        self.broker.restore(snapshot, found.messages, found.next_message_id)
        if not self.broker.vhosts:
            row = VHostRow("/")
            self.catalog.rows[(VHostRow, "/")] = row
            self.broker.add_vhost(row)
        self.settings = SessionSettings(server_properties={"product": longstr("RabbitMQ")})
        self.port = 0

    def run(self) -> None:
        """Turns until the broker is at rest, at the time that it is."""
        self.turn.now = self.now
        while self.turn.armed:
            self.turn.run()

    def connect(self, **arguments: Any) -> Client:
        """A client that is through the handshake."""
        client = Client(self)
        client.handshake(**arguments)
        return client

    def wait(self, milliseconds: int) -> None:
        """Let so much time pass, with a turn whenever a timer is due."""
        end = self.now + milliseconds
        heap = self.turn.timers.heap
        while heap and heap[0][0] <= end:
            self.now = max(self.now, heap[0][0])
            self.turn.arm()
            self.run()
        self.now = end
        self.run()

    def tick(self, milliseconds: int, *clients: Client) -> None:
        """Let time pass, a second at a time."""
        for _ in range(milliseconds // 1000):
            self.now += 1000
            for client in clients:
                client.session.tick(self.now)
            self.run()

    def restart(self, *, crash: bool = False, down: int = 0) -> World:
        """The broker that starts on what this one leaves, so many milliseconds later; its clock begins at 0 again."""
        if not crash:
            for session in list(self.broker.connections):
                session.lost(None)
            self.run()
            self.journal.close(clean=True)
        self.streams.restart()
        world = World(self.engine, self.catalog, wall=self.wall + self.now + down, streams=self.streams)
        world.run()
        return world

    def queue(self, name: str) -> Any:
        return self.broker.vhosts["/"].queues[name]

    def folded(self) -> dict[str, list[int]]:
        """What a restart would find in each durable queue: message ids in order."""
        names = {queue.id: queue.name for queue in self.catalog.load().queues}
        return {names[queue]: ids for queue, ids in self.fold(names).items()}

    def delayed(self) -> list[int]:
        """What it would find delayed."""
        return self.fold([DELAYED])[DELAYED]

    def fold(self, queues: Collection[int]) -> dict[int, list[int]]:
        fold = Fold(queues)
        for batch in self.engine.replay():
            fold.apply(batch)
        return {queue: list(state.messages) for queue, state in fold.queues.items()}


WALL = 1_700_000_000_000
"""The wall clock at time 0 of a first start, in milliseconds."""


class Client:
    """The other end of a session: it sends what a test says and takes apart what comes back."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.received = b""
        self.closed = False
        self.reading = True
        self.unread = 0
        world.port += 1
        peer = Peer("127.0.0.1", world.port, "127.0.0.1", 5672)
        self.session = Session(world.broker, Logins(), world.settings, self, peer, world.now, lambda: 0)

    # ------------------------------------------------------------------------------------- as a transport

    def write(self, data: bytes) -> None:
        self.received += data

    def backlog(self) -> int:
        return self.unread

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = True

    # ---------------------------------------------------------------------------------------- as a client

    def handshake(
        self, *, capabilities: tuple[str, ...] = ("consumer_cancel_notify",), response: str = PLAIN, **tune: int
    ) -> None:
        self.send(b"AMQP\x00\x00\x09\x01")
        table = {"capabilities": subtable({name: boolean(True) for name in capabilities})}
        self.method(
            0,
            commands.Connection.StartOk,
            client_properties=table,
            mechanism="PLAIN",
            response=response,
            locale="en_US",
        )
        tuned = {"channel_max": 2047, "frame_max": 131072, "heartbeat": 0, **tune}
        self.method(0, commands.Connection.TuneOk, **tuned)
        self.method(0, commands.Connection.Open, virtual_host="/", capabilities="", insist=False)
        self.frames()

    def send(self, data: bytes) -> None:
        """Bytes, and the turns they cause."""
        self.session.receive(data, self.world.now)
        self.world.run()

    def method(self, number: int, kind: type, **values: Any) -> list[Any]:
        """Send a method (tables as plain dicts or typed); what came back, decoded."""
        arguments = values.get("arguments")
        if isinstance(arguments, dict) and not all(hasattr(value, "kind") for value in arguments.values()):
            values["arguments"] = from_json(arguments)
        self.send(methods.encode(number, methods.build(kind, **values)))
        return self.frames()

    def open(self, number: int = 1) -> None:
        """Open a channel."""
        (answer,) = self.method(number, commands.Channel.Open)
        assert isinstance(answer, commands.Channel.OpenOk)

    @staticmethod
    def publish_bytes(
        number: int, exchange: str, key: str, payload: bytes, mandatory: bool = False, **properties: Any
    ) -> bytes:
        """A whole publish, as one frame each."""
        method = methods.build(commands.Basic.Publish, exchange=exchange, routing_key=key, mandatory=mandatory)
        head = header.ContentHeader(0, len(payload), commands.Basic.Properties(**properties))
        data = methods.encode(number, method) + frame.marshal(head, number)
        return data + (frame.marshal(body.ContentBody(payload), number) if payload else b"")

    def publish(self, exchange: str, key: str, payload: bytes = b"x", number: int = 1, **properties: Any) -> list[Any]:
        """Publish; what came back."""
        self.send(self.publish_bytes(number, exchange, key, payload, **properties))
        return self.frames()

    def frames(self) -> list[Any]:
        """All that was received since the last look: methods, content headers, bodies (as bytes)."""
        found: list[Any] = []
        while self.received:
            if self.received.startswith(b"AMQP"):
                found.append(self.received[:8])
                self.received = self.received[8:]
                continue
            size, _, decoded = frame.unmarshal(self.received)
            self.received = self.received[size:]
            found.append(decoded.value if isinstance(decoded, body.ContentBody) else decoded)
        return found

    def declare(self, name: str, number: int = 1, **values: Any) -> Any:
        """Declare a queue; the answer."""
        return self.method(number, commands.Queue.Declare, queue=name, **values)[0]

    def consume(self, queue: str, tag: str = "c", number: int = 1, **values: Any) -> list[Any]:
        """Start a consumer; what came back, consume-ok first."""
        return self.method(number, commands.Basic.Consume, queue=queue, consumer_tag=tag, **values)

    def lose(self) -> None:
        """The socket breaks."""
        self.session.lost(None)
        self.world.run()
