"""The catalog: what exists, in SQLite.

One thread writes. It begins a transaction with the first submit that is there, takes in all that arrive until it has
nothing more to do, and commits; what arrives during the commit shares the next one. Each submit has a savepoint of its
own, so one that fails is undone and told so, and the others go on.

Names are text. Routing keys may be any octets (strings with surrogate escapes) and are kept as octets, like argument
tables. Rows keep the place of their first insertion. A queue's id is never given twice: `next_queue_id` only rises.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, TypeAlias

from amqpd.core.ports import (
    BindingRow,
    Change,
    Committed,
    ExchangeRow,
    GlobalParameterRow,
    ParameterRow,
    PermissionRow,
    QueueRow,
    Row,
    Snapshot,
    TopicPermissionRow,
    UserRow,
    VHostRow,
)
from amqpd.storage.errors import NewerSchema, StorageError

__all__ = ["SQLiteCatalog"]

Deliver: TypeAlias = Callable[[Callable[[], object]], object]
Statement: TypeAlias = tuple[str, tuple[object, ...]]

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        "CREATE TABLE vhosts (seq INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, description TEXT NOT NULL,"
        " tags TEXT NOT NULL, default_queue_type TEXT NOT NULL)",
        "CREATE TABLE users (seq INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, password_hash BLOB NOT NULL,"
        " hashing_algorithm TEXT NOT NULL, tags TEXT NOT NULL)",
        'CREATE TABLE permissions (seq INTEGER PRIMARY KEY, "user" TEXT NOT NULL, vhost TEXT NOT NULL,'
        ' configure TEXT NOT NULL, write TEXT NOT NULL, read TEXT NOT NULL, UNIQUE ("user", vhost))',
        "CREATE TABLE exchanges (seq INTEGER PRIMARY KEY, vhost TEXT NOT NULL, name TEXT NOT NULL, kind TEXT NOT NULL,"
        " auto_delete INTEGER NOT NULL, internal INTEGER NOT NULL, arguments BLOB NOT NULL, UNIQUE (vhost, name))",
        "CREATE TABLE queues (seq INTEGER PRIMARY KEY, id INTEGER NOT NULL UNIQUE, vhost TEXT NOT NULL,"
        " name TEXT NOT NULL, auto_delete INTEGER NOT NULL, arguments BLOB NOT NULL, UNIQUE (vhost, name))",
        "CREATE TABLE bindings (seq INTEGER PRIMARY KEY, vhost TEXT NOT NULL, source TEXT NOT NULL,"
        " destination_kind TEXT NOT NULL, destination TEXT NOT NULL, routing_key BLOB NOT NULL,"
        " arguments BLOB NOT NULL,"
        " UNIQUE (vhost, source, destination_kind, destination, routing_key, arguments))",
        "CREATE INDEX bindings_by_destination ON bindings (vhost, destination_kind, destination)",
        "CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL)",
        "INSERT INTO counters VALUES ('next_queue_id', 1)",
    ),
    (
        "ALTER TABLE vhosts ADD COLUMN protected_from_deletion INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE vhosts ADD COLUMN tracing INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE users ADD COLUMN limits TEXT NOT NULL DEFAULT '[]'",
        'CREATE TABLE topic_permissions (seq INTEGER PRIMARY KEY, "user" TEXT NOT NULL, vhost TEXT NOT NULL,'
        " exchange TEXT NOT NULL, write TEXT NOT NULL, read TEXT NOT NULL,"
        ' UNIQUE ("user", vhost, exchange))',
        "CREATE TABLE parameters (seq INTEGER PRIMARY KEY, vhost TEXT NOT NULL, component TEXT NOT NULL,"
        " name TEXT NOT NULL, value TEXT NOT NULL, UNIQUE (vhost, component, name))",
        "CREATE TABLE global_parameters (seq INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, value TEXT NOT NULL)",
    ),
)
"""Statements that lead from each schema version (its index) to the next. Never changed, only added to."""


# ----------------------------------------------------------------------------------- rows <-> statements


def put(row: Row) -> list[Statement]:
    """The statements that make the row exist as it is."""
    if isinstance(row, VHostRow):
        values: tuple[object, ...] = (*row[:2], json.dumps(row.tags), *row[3:])
        return [upsert("vhosts", ("name",), VHostRow._fields[1:], values)]
    if isinstance(row, UserRow):
        values = (*row[:3], json.dumps(row.tags), json.dumps(row.limits))
        return [upsert("users", ("name",), UserRow._fields[1:], values)]
    if isinstance(row, PermissionRow):
        return [upsert("permissions", ('"user"', "vhost"), ("configure", "write", "read"), row)]
    if isinstance(row, TopicPermissionRow):
        return [upsert("topic_permissions", ('"user"', "vhost", "exchange"), ("write", "read"), row)]
    if isinstance(row, ParameterRow):
        return [upsert("parameters", ("vhost", "component", "name"), ("value",), row)]
    if isinstance(row, GlobalParameterRow):
        return [upsert("global_parameters", ("name",), ("value",), row)]
    if isinstance(row, ExchangeRow):
        return [upsert("exchanges", ("vhost", "name"), ("kind", "auto_delete", "internal", "arguments"), row)]
    if isinstance(row, QueueRow):
        values = (row.vhost, row.name, row.id, row.auto_delete, row.arguments)
        return [upsert("queues", ("vhost", "name"), ("id", "auto_delete", "arguments"), values)]
    return [upsert("bindings", BINDING_KEY, (), binding_values(row))]


BINDING_KEY = ("vhost", "source", "destination_kind", "destination", "routing_key", "arguments")


def binding_values(row: BindingRow) -> tuple[object, ...]:
    vhost, source, destination_kind, destination, routing_key, arguments = row
    key = routing_key.encode("utf-8", "surrogateescape")
    return vhost, source, destination_kind, destination, key, arguments


def upsert(table: str, key: tuple[str, ...], rest: tuple[str, ...], values: tuple[object, ...]) -> Statement:
    """An insert that becomes an update of the same row when the key is there."""
    return upsert_text(table, key, rest), values


@cache
def upsert_text(table: str, key: tuple[str, ...], rest: tuple[str, ...]) -> str:
    columns = key + rest
    action = "UPDATE SET " + ", ".join(f"{name} = excluded.{name}" for name in rest) if rest else "NOTHING"
    return (
        f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"
        f" ON CONFLICT ({', '.join(key)}) DO {action}"
    )


RAISE_NEXT_QUEUE_ID = "UPDATE counters SET value = max(value, ?) WHERE name = 'next_queue_id'"


def drop(row: Row) -> list[Statement]:
    """The statements that make the row, and what goes with it, not exist."""
    if isinstance(row, VHostRow):
        inside = ("permissions", "topic_permissions", "parameters", "exchanges", "queues", "bindings")
        gone: list[Statement] = [(f"DELETE FROM {table} WHERE vhost = ?", (row.name,)) for table in inside]
        return [*gone, ("DELETE FROM vhosts WHERE name = ?", (row.name,))]
    if isinstance(row, UserRow):
        return [
            ('DELETE FROM permissions WHERE "user" = ?', (row.name,)),
            ('DELETE FROM topic_permissions WHERE "user" = ?', (row.name,)),
            ("DELETE FROM users WHERE name = ?", (row.name,)),
        ]
    if isinstance(row, PermissionRow):
        return [('DELETE FROM permissions WHERE "user" = ? AND vhost = ?', (row.user, row.vhost))]
    if isinstance(row, TopicPermissionRow):
        return [('DELETE FROM topic_permissions WHERE "user" = ? AND vhost = ? AND exchange = ?', row[:3])]
    if isinstance(row, ParameterRow):
        return [("DELETE FROM parameters WHERE vhost = ? AND component = ? AND name = ?", row[:3])]
    if isinstance(row, GlobalParameterRow):
        return [("DELETE FROM global_parameters WHERE name = ?", (row.name,))]
    if isinstance(row, BindingRow):
        condition = " AND ".join(f"{name} = ?" for name in BINDING_KEY)
        return [(f"DELETE FROM bindings WHERE {condition}", binding_values(row))]
    key = (row.vhost, row.name)
    ends_there = "DELETE FROM bindings WHERE vhost = ? AND destination = ? AND destination_kind = "
    if isinstance(row, QueueRow):
        return [(ends_there + "'queue'", key), ("DELETE FROM queues WHERE vhost = ? AND name = ?", key)]
    return [
        (ends_there + "'exchange'", key),
        ("DELETE FROM bindings WHERE vhost = ? AND source = ?", key),
        ("DELETE FROM exchanges WHERE vhost = ? AND name = ?", key),
    ]


# ------------------------------------------------------------------------------------------- the catalog


class SQLiteCatalog:
    """The Catalog door over one file. `deliver` has a callable called on the loop's thread."""

    def __init__(self, path: Path, deliver: Deliver) -> None:
        self.deliver = deliver
        self.submits: SimpleQueue[tuple[Sequence[Change], Committed] | None] = SimpleQueue()
        # Opened, migrated and loaded by the thread that opens the data directory, from then on used by the writer only.
        self.connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        try:
            self.prepare(path)
        except BaseException:
            self.connection.close()
            raise
        self.thread = Thread(target=self.run, name="amqpd-catalog", daemon=True)
        self.thread.start()

    def prepare(self, path: Path) -> None:
        """Bring the schema up to date."""
        execute = self.connection.execute
        execute("PRAGMA journal_mode = WAL").close()
        execute("PRAGMA synchronous = FULL").close()
        execute("PRAGMA fullfsync = ON").close()
        execute("PRAGMA checkpoint_fullfsync = ON").close()
        [(version,)] = execute("PRAGMA user_version").fetchall()
        if version > len(MIGRATIONS):
            raise NewerSchema(
                f"{path} has schema version {version}, this program knows versions up to {len(MIGRATIONS)}:"
                " it was written by a newer amqpd"
            )
        for at in range(version, len(MIGRATIONS)):
            execute("BEGIN IMMEDIATE").close()
            for statement in MIGRATIONS[at]:
                execute(statement).close()
            execute(f"PRAGMA user_version = {at + 1}").close()
            execute("COMMIT").close()

    def load(self) -> Snapshot:
        """What is there; before the first submit."""
        rows = self.rows
        return Snapshot(
            vhosts=[
                VHostRow(name, description, tuple(json.loads(tags)), kind, bool(protected), bool(tracing))
                for name, description, tags, kind, protected, tracing in rows(
                    f"{', '.join(VHostRow._fields)} FROM vhosts"
                )
            ],
            users=[
                UserRow(name, bytes(digest), algorithm, tuple(json.loads(tags)), tuple(map(tuple, json.loads(limits))))
                for name, digest, algorithm, tags, limits in rows(f"{', '.join(UserRow._fields)} FROM users")
            ],
            permissions=[PermissionRow(*row) for row in rows('"user", vhost, configure, write, read FROM permissions')],
            exchanges=[
                ExchangeRow(vhost, name, kind, bool(auto_delete), bool(internal), bytes(arguments))
                for vhost, name, kind, auto_delete, internal, arguments in rows(
                    "vhost, name, kind, auto_delete, internal, arguments FROM exchanges"
                )
            ],
            queues=[
                QueueRow(queue, vhost, name, bool(auto_delete), bytes(arguments))
                for queue, vhost, name, auto_delete, arguments in rows(
                    "id, vhost, name, auto_delete, arguments FROM queues"
                )
            ],
            bindings=[
                BindingRow(
                    vhost, source, kind, destination, bytes(key).decode("utf-8", "surrogateescape"), bytes(arguments)
                )
                for vhost, source, kind, destination, key, arguments in rows(f"{', '.join(BINDING_KEY)} FROM bindings")
            ],
            next_queue_id=self.connection.execute("SELECT value FROM counters").fetchall()[0][0],
            topic_permissions=[
                TopicPermissionRow(*row) for row in rows('"user", vhost, exchange, write, read FROM topic_permissions')
            ],
            parameters=[ParameterRow(*row) for row in rows("vhost, component, name, value FROM parameters")],
            global_parameters=[GlobalParameterRow(*row) for row in rows("name, value FROM global_parameters")],
        )

    def rows(self, what: str) -> list[tuple[Any, ...]]:
        rows: list[tuple[Any, ...]] = self.connection.execute(f"SELECT {what} ORDER BY seq").fetchall()
        return rows

    def submit(self, changes: Sequence[Change], done: Committed) -> None:
        """Write the changes in one transaction; `done` on the loop's thread."""
        self.submits.put((changes, done))

    def close(self) -> None:
        """Wait for what was submitted, then close."""
        self.submits.put(None)
        self.thread.join()
        self.connection.close()

    # ----------------------------------------------------------------------------------- the writing thread

    def run(self) -> None:
        while (submit := self.submits.get()) is not None:
            if not self.transact(submit):
                return

    def transact(self, submit: tuple[Sequence[Change], Committed]) -> bool:
        """This submit and all that are there by now, in one commit. False: there will be no more."""
        answers: list[tuple[Committed, Exception | None]] = []
        more: tuple[Sequence[Change], Committed] | None = submit
        try:
            self.connection.execute("BEGIN IMMEDIATE").close()
            while more is not None:
                changes, done = more
                answers.append((done, None))
                answers[-1] = done, self.apply(changes)
                more = self.submits.get_nowait()
        except Empty:
            pass
        except Exception as error:
            answers = [(done, error) for done, _ in answers or [(submit[1], None)]]
        answers = self.commit(answers)
        for done, failure in answers:
            self.deliver(partial(done, failure))
        return more is not None

    def apply(self, changes: Sequence[Change]) -> Exception | None:
        """All changes, or none and the error."""
        execute = self.connection.execute
        execute("SAVEPOINT one").close()
        try:
            for to_be, row in changes:
                for statement, values in put(row) if to_be else drop(row):
                    execute(statement, values).close()
            queues = [row.id for to_be, row in changes if to_be and isinstance(row, QueueRow)]
            if queues:
                execute(RAISE_NEXT_QUEUE_ID, (max(queues) + 1,)).close()
        except Exception as error:
            execute("ROLLBACK TO one").close()
            execute("RELEASE one").close()
            return error
        execute("RELEASE one").close()
        return None

    def commit(self, answers: list[tuple[Committed, Exception | None]]) -> list[tuple[Committed, Exception | None]]:
        """Commit; what each submit is to be told."""
        try:
            self.connection.execute("COMMIT").close()
        except sqlite3.Error as error:
            failure = StorageError(f"the catalog could not be written: {error}")
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK").close()
            return [(done, earlier or failure) for done, earlier in answers]
        return answers
