"""The catalog on disk: what was put is there after the next start, in one piece and in order."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from threading import Event

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from amqpd.core.ports import (
    BindingRow,
    Change,
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
from amqpd.storage import catalog as catalog_module
from amqpd.storage.catalog import MIGRATIONS, SQLiteCatalog
from amqpd.storage.errors import NewerSchema, StorageError
from amqpd.storage.memory import MemoryCatalog

VHOST = VHostRow("/", "the default", ("a", "b"), "classic", True, True)
USER = UserRow(
    "guest", b"\x00\xffdigest", "rabbit_password_hashing_sha256", ("administrator",), (("max-connections", 3),)
)
PERMISSION = PermissionRow("guest", "/", ".*", ".*", "^x$")
EXCHANGE = ExchangeRow("/", "logs", "topic", True, False, b"\x00\x00\x00\x00")
QUEUE = QueueRow(7, "/", "q", True, b"\x00\x00\x00\x02xx")
BINDING = BindingRow("/", "logs", "queue", "q", "a.\udcff.#", b"\x00\x00\x00\x00")
TOPIC_PERMISSION = TopicPermissionRow("guest", "/", "logs", "^a", "^b")
PARAMETER = ParameterRow("/", "policy", "ttl", '{"pattern":"^a"}')
GLOBAL_PARAMETER = GlobalParameterRow("cluster_name", '"rabbit"')
ALL: list[Row] = [
    VHOST,
    USER,
    PERMISSION,
    TOPIC_PERMISSION,
    PARAMETER,
    GLOBAL_PARAMETER,
    EXCHANGE,
    QUEUE,
    BINDING,
]
NOTHING = Snapshot([], [], [], [], [], [], 1, [], [], [])

Open = Callable[[], SQLiteCatalog]


@pytest.fixture
def open_catalog(loop, tmp_path: Path) -> Iterator[Open]:  # type: ignore[no-untyped-def]
    opened: list[SQLiteCatalog] = []

    def reopen() -> SQLiteCatalog:
        if opened:
            opened.pop().close()
        opened.append(SQLiteCatalog(tmp_path / "catalog", loop.deliver))
        return opened[0]

    yield reopen
    if opened:
        opened.pop().close()


def put(loop, catalog: SQLiteCatalog, *submits: Sequence[Change]) -> list[Exception | None]:  # type: ignore[no-untyped-def]
    answers: list[Exception | None] = []
    for changes in submits:
        catalog.submit(changes, answers.append)
    loop.run_until(lambda: len(answers) == len(submits))
    return answers


def puts(*rows: Row) -> list[Change]:
    return [Change(True, row) for row in rows]


def test_everything_is_there_after_a_new_start(loop, open_catalog: Open) -> None:  # type: ignore[no-untyped-def]
    catalog = open_catalog()
    assert catalog.load() == NOTHING
    assert put(loop, catalog, puts(*ALL)) == [None]
    assert put(loop, catalog, puts(*ALL)) == [None], "a put can be repeated"
    again = open_catalog().load()
    assert again == Snapshot([VHOST], [USER], [PERMISSION], [EXCHANGE], [QUEUE], [BINDING], 8)._replace(
        topic_permissions=[TOPIC_PERMISSION], parameters=[PARAMETER], global_parameters=[GLOBAL_PARAMETER]
    )
    assert type(again.exchanges[0].auto_delete) is bool


def test_a_put_replaces_the_row_and_keeps_its_place(loop, open_catalog: Open) -> None:  # type: ignore[no-untyped-def]
    other = EXCHANGE._replace(name="other")
    put(loop, open_catalog(), puts(EXCHANGE, other), puts(EXCHANGE._replace(kind="fanout")))
    assert open_catalog().load().exchanges == [EXCHANGE._replace(kind="fanout"), other]


def test_queue_ids_are_never_used_again(loop, open_catalog: Open) -> None:  # type: ignore[no-untyped-def]
    catalog = open_catalog()
    put(loop, catalog, puts(QUEUE._replace(id=41)), [Change(False, QUEUE)])
    catalog = open_catalog()
    assert catalog.load().next_queue_id == 42
    put(loop, catalog, puts(QUEUE))
    assert open_catalog().load().next_queue_id == 42


def test_names_and_keys_of_any_kind_come_back(loop, open_catalog: Open) -> None:  # type: ignore[no-untyped-def]
    rows = [QUEUE._replace(name=name, id=at) for at, name in enumerate(["é\0x", "\0", "", "'; DROP TABLE queues"], 1)]
    keys = [BINDING._replace(routing_key=key) for key in ("", "\udc80", "\x80", "é", "\0")]
    put(loop, open_catalog(), puts(*rows, *keys))
    snapshot = open_catalog().load()
    assert snapshot.queues == rows and snapshot.bindings == keys


def test_one_bad_submit_does_not_spoil_the_others(loop, open_catalog: Open) -> None:  # type: ignore[no-untyped-def]
    bad = puts(QUEUE._replace(id=8, name="half"), VHOST._replace(name="\ud800"))
    answers = put(loop, open_catalog(), puts(QUEUE), bad, puts(QUEUE._replace(id=9, name="r")))
    assert answers[0] is None and isinstance(answers[1], UnicodeEncodeError) and answers[2] is None
    assert [row.name for row in open_catalog().load().queues] == ["q", "r"]


class SlowConnection:
    """A connection whose first commit waits until the test says so, and which counts commits."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self.commits = 0
        self.committing, self.go_on = Event(), Event()
        self.error: Exception | None = None

    def execute(self, statement: str, values: Sequence[object] = ()) -> sqlite3.Cursor:
        if statement == "COMMIT":
            self.commits += 1
            self.committing.set()
            assert self.go_on.wait(30)
            if self.error is not None:
                raise self.error
        return self.connection.execute(statement, values)

    def __getattr__(self, name: str) -> object:
        return getattr(self.connection, name)


def test_what_arrives_during_a_commit_shares_the_next_one(loop, open_catalog: Open) -> None:  # type: ignore[no-untyped-def]
    catalog = open_catalog()
    slow = SlowConnection(catalog.connection)
    catalog.connection = slow  # type: ignore[assignment]
    answers: list[tuple[int, Exception | None]] = []
    catalog.submit(puts(QUEUE), lambda error: answers.append((0, error)))
    assert slow.committing.wait(30)
    for number in range(1, 101):
        catalog.submit(
            puts(QUEUE._replace(id=number + 10, name=f"q{number}")),
            lambda error, number=number: answers.append((number, error)),
        )
    assert answers == []
    slow.go_on.set()
    loop.run_until(lambda: len(answers) == 101)
    assert answers == [(number, None) for number in range(101)]
    assert slow.commits == 2


def test_a_commit_that_fails_is_told_to_all_who_share_it_and_leaves_nothing(loop, open_catalog: Open) -> None:  # type: ignore[no-untyped-def]
    catalog = open_catalog()
    real = catalog.connection
    slow = SlowConnection(real)
    slow.error = sqlite3.OperationalError("disk I/O error")
    slow.go_on.set()
    catalog.connection = slow  # type: ignore[assignment]
    [answer] = put(loop, catalog, puts(QUEUE))
    assert isinstance(answer, StorageError) and "disk I/O error" in str(answer)
    slow.error = None
    assert put(loop, catalog, puts(VHOST)) == [None]
    snapshot = open_catalog().load()
    assert (snapshot.queues, snapshot.vhosts) == ([], [VHOST])


def test_closing_waits_for_what_was_submitted(loop, open_catalog: Open) -> None:  # type: ignore[no-untyped-def]
    catalog = open_catalog()
    for number in range(200):
        catalog.submit(puts(QUEUE._replace(id=number, name=f"q{number}")), lambda error: None)
    assert len(open_catalog().load().queues) == 200


# --------------------------------------------------------------------------------------------------- schema


def test_a_newer_schema_is_refused(loop, tmp_path: Path, open_catalog: Open) -> None:  # type: ignore[no-untyped-def]
    open_catalog().close()
    with sqlite3.connect(tmp_path / "catalog") as connection:
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    connection.close()
    with pytest.raises(NewerSchema, match=rf"catalog has schema version {len(MIGRATIONS) + 1}.*newer"):
        SQLiteCatalog(tmp_path / "catalog", loop.deliver)


def test_an_older_schema_is_brought_up_to_date(loop, open_catalog: Open, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    put(loop, open_catalog(), puts(*ALL))
    later = (*MIGRATIONS, ("ALTER TABLE queues ADD COLUMN note TEXT NOT NULL DEFAULT 'none'",))
    monkeypatch.setattr(catalog_module, "MIGRATIONS", later)
    catalog = open_catalog()
    assert catalog.load().queues == [QUEUE]
    assert catalog.connection.execute("SELECT note FROM queues").fetchall() == [("none",)]
    assert open_catalog().load().queues == [QUEUE], "a migration is made once"


def test_a_catalog_of_the_first_version_is_read(
    loop, tmp_path: Path, open_catalog: Open, monkeypatch: pytest.MonkeyPatch
) -> None:  # type: ignore[no-untyped-def]
    with monkeypatch.context() as patch:
        patch.setattr(catalog_module, "MIGRATIONS", MIGRATIONS[:1])
        first = SQLiteCatalog(tmp_path / "catalog", loop.deliver)
        first.connection.execute("INSERT INTO vhosts VALUES (1, '/', '', '[]', '')")
        first.connection.execute("INSERT INTO users VALUES (1, 'u', x'00', 'sha', '[]')")
        first.close()
    snapshot = open_catalog().load()
    assert (snapshot.vhosts, snapshot.users) == ([VHostRow("/")], [UserRow("u", b"\0", "sha")])


def test_a_migration_that_fails_changes_nothing(
    loop, tmp_path: Path, open_catalog: Open, monkeypatch: pytest.MonkeyPatch
) -> None:  # type: ignore[no-untyped-def]
    open_catalog().close()
    bad = (*MIGRATIONS, ("CREATE TABLE more (x)", "INSERT INTO nowhere VALUES (1)"))
    with monkeypatch.context() as patch:
        patch.setattr(catalog_module, "MIGRATIONS", bad)
        with pytest.raises(sqlite3.OperationalError):
            SQLiteCatalog(tmp_path / "catalog", loop.deliver)
    catalog = SQLiteCatalog(tmp_path / "catalog", loop.deliver)
    assert catalog.connection.execute("SELECT name FROM sqlite_master WHERE name = 'more'").fetchall() == []
    catalog.close()


# ------------------------------------------------------------------------------------ the same as in memory

NAMES = st.sampled_from(["a", "b"])
EMPTY = b"\x00\x00\x00\x00"
ROWS: st.SearchStrategy[Row] = st.one_of(
    st.builds(VHostRow, NAMES, st.sampled_from(["", "text"])),
    st.builds(UserRow, NAMES, st.sampled_from([b"", b"x"]), st.just("sha"), st.sampled_from([(), ("monitoring",)])),
    st.builds(PermissionRow, NAMES, NAMES, st.just(""), st.just(""), st.sampled_from(["", ".*"])),
    st.builds(TopicPermissionRow, NAMES, NAMES, NAMES, st.just(""), st.sampled_from(["", ".*"])),
    st.builds(ParameterRow, NAMES, NAMES, NAMES, st.sampled_from(["1", "2"])),
    st.builds(GlobalParameterRow, NAMES, st.sampled_from(["1", "2"])),
    st.builds(
        ExchangeRow, NAMES, NAMES, st.sampled_from(["fanout", "topic"]), st.booleans(), st.booleans(), st.just(b"")
    ),
    st.builds(BindingRow, NAMES, NAMES, st.sampled_from(["queue", "exchange"]), NAMES, NAMES, st.just(EMPTY)),
)
CHANGES = st.lists(
    st.builds(Change, st.booleans(), ROWS)
    | st.builds(lambda to_be, vhost, name: (to_be, vhost, name), st.booleans(), NAMES, NAMES),
    max_size=30,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(CHANGES)
def test_the_catalog_on_disk_and_the_one_in_memory_agree(loop, tmp_path: Path, given_changes) -> None:  # type: ignore[no-untyped-def]
    changes = [
        each if isinstance(each, Change) else Change(each[0], QueueRow(at, each[1], each[2], False, EMPTY))
        for at, each in enumerate(given_changes, 1)
    ]
    for old in tmp_path.iterdir():
        old.unlink()
    memory = MemoryCatalog()
    catalog = SQLiteCatalog(tmp_path / "catalog", loop.deliver)
    done: list[Exception | None] = []
    for change in changes:
        memory.submit([change], done.append)
        catalog.submit([change], done.append)
    loop.run_until(lambda: len(done) == 2 * len(changes))
    assert not any(done)
    found = catalog.load()
    catalog.close()
    memory.close()
    assert found == memory.load()
