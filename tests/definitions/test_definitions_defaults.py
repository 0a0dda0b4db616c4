"""What new virtual hosts are given: default_limits, default_policies and default_users (semantics 4.2)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from amqpd.auth.passwords import verify
from amqpd.auth.users import UserStore
from amqpd.config.settings import load
from amqpd.core import operations
from amqpd.core.policy import OPERATOR_POLICY
from amqpd.core.ports import VHostRow
from amqpd.core.vhost import VHost
from amqpd.definitions.defaults import Defaults
from tests.support.world import World

CONF = """
default_limits.vhosts.2.pattern = .*
default_limits.vhosts.2.max_queues = 20
default_limits.vhosts.10.pattern = ^dev
default_limits.vhosts.10.max_queues = -1
default_limits.vhosts.1.pattern = ^dev
default_limits.vhosts.1.max_connections = 10
default_limits.vhosts.1.max_queues = 5
default_policies.operator.short.vhost_pattern = ^dev
default_policies.operator.short.queue_pattern = ^tmp
default_policies.operator.short.apply_to = classic_queues
default_policies.operator.short.expires = 1h
default_policies.operator.short.max_length_bytes = 1KB
default_policies.operator.all.message_ttl = 5000
default_users.alice.vhost_pattern = ^dev
default_users.alice.password = secret
default_users.alice.tags = monitoring,management
default_users.alice.read = ^tmp
default_users.bob.vhost_pattern = ^prod
"""


class Place:
    """A broker with these defaults."""

    def __init__(self, directory: Path, text: str = CONF) -> None:
        file = directory / "a.conf"
        file.write_text(text)
        settings = load(str(file), {}, {})
        assert settings.warnings == ()
        self.world = World()
        self.broker = self.world.broker
        self.users = UserStore(self.world.catalog.load(), self.world.catalog, self.broker.vhosts.__contains__)
        self.broker.fill_vhost = Defaults(
            self.broker,
            self.users,
            limits=settings.groups("default_limits.vhosts"),
            policies=settings.groups("default_policies.operator"),
            users_of=settings.groups("default_users"),
        ).fill

    def put(self, name: str) -> VHost:
        outcome: list[Any] = []
        operations.put_vhost(self.broker, VHostRow(name), outcome.append)
        self.world.run()
        assert outcome == [True]
        return self.broker.vhosts[name]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.mark.parametrize(
    ("name", "queues", "connections"), [("dev.1", 5, 10), ("prod", 20, None), ("my dev", 20, None)]
)
def test_limits_are_those_of_the_first_that_matches(
    place: Place, name: str, queues: int, connections: int | None
) -> None:
    vhost = place.put(name)
    assert (vhost.limit("max-queues"), vhost.limit("max-connections")) == (queues, connections)


def test_operator_policies_are_all_that_match(place: Place) -> None:
    dev, prod = place.put("dev"), place.put("prod")
    assert set(dev.policies.named[OPERATOR_POLICY]) == {"short", "all"}
    assert set(prod.policies.named[OPERATOR_POLICY]) == {"all"}
    short = dev.policies.named[OPERATOR_POLICY]["short"]
    assert (short.pattern, short.apply_to, short.priority) == ("^tmp", "classic_queues", 0)
    assert short.definition == {"expires": 3_600_000, "max-length-bytes": 1024}
    every = prod.policies.named[OPERATOR_POLICY]["all"]
    assert (every.pattern, every.apply_to, every.definition) == (".*", "all", {"message-ttl": 5000})


def test_users_are_created_and_may_enter(place: Place) -> None:
    place.put("dev")
    alice = place.users.get_user("alice")
    assert verify(b"secret", alice.password_hash, alice.hashing_algorithm)
    assert set(alice.tags) == {"monitoring", "management"}
    permission = place.users.find_permission("alice", "dev")
    assert permission is not None
    assert (permission.configure, permission.write, permission.read) == (".*", ".*", "^tmp")
    assert place.users.find_user("bob") is None


def test_a_user_who_exists_keeps_password_and_tags(place: Place) -> None:
    place.put("dev.1")
    place.users.change_password("alice", "changed", lambda _: None)
    place.put("dev.2")
    alice = place.users.get_user("alice")
    assert verify(b"changed", alice.password_hash, alice.hashing_algorithm)
    assert place.users.find_permission("alice", "dev.2") is not None


def test_a_user_without_a_password_cannot_log_in_by_one(place: Place) -> None:
    place.put("prod")
    assert place.users.get_user("bob").password_hash == b""


def test_a_virtual_host_that_is_there_is_not_touched(place: Place) -> None:
    vhost = place.put("dev")
    cleared: list[Any] = []
    operations.clear_vhost_limits(place.broker, vhost, cleared.append)
    operations.put_vhost(place.broker, VHostRow("dev", description="changed"), cleared.append)
    assert cleared == [None, False]
    assert vhost.limit("max-queues") is None


def test_they_are_written_down(place: Place) -> None:
    place.put("dev")
    snapshot = place.world.catalog.load()
    assert {(row.vhost, row.component, row.name) for row in snapshot.parameters} == {
        ("dev", "vhost-limits", "limits"),
        ("dev", "operator_policy", "short"),
        ("dev", "operator_policy", "all"),
    }


def test_what_cannot_be_done_is_logged_and_the_rest_is_done(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    place = Place(tmp_path, "default_policies.operator.empty.vhost_pattern = .*\ndefault_users.carol.tags = none\n")
    place.put("any")
    assert place.users.find_permission("carol", "any") is not None
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == [
        "a default of vhost 'any' cannot be applied: Validation failed\n\nno policy provided\n"
    ]
