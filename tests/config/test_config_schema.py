"""The table of keys, and the example file made from it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from amqpd.config import env, reader
from amqpd.config.known import KNOWN, known
from amqpd.config.reader import Rank
from amqpd.config.schema import CATEGORIES, KEYS, LEVELS, Key, example, find, matches, split
from amqpd.config.settings import load

CONF = Path(__file__).parents[2] / "conf" / "amqpd.conf"


def test_the_example_file_is_the_schema() -> None:
    assert CONF.read_text() == example(), "conf/amqpd.conf is not what schema.example() writes"


def test_the_example_file_sets_nothing() -> None:
    assert reader.parse(CONF.read_text(), "amqpd.conf", Rank.FILE, {}, []) == []


def test_the_example_file_is_valid_when_its_comments_are_removed(tmp_path: Path) -> None:
    lines = [line.removeprefix("# ") for line in CONF.read_text().splitlines() if re.match(r"# \S+ = ", line)]
    assert len(lines) == len(KEYS)
    file = tmp_path / "all.conf"
    file.write_text("\n".join(lines))
    settings = load(str(file), {}, {})
    assert settings.warnings == ()
    for line in lines:
        name, _, text = line.partition(" = ")
        key = find(name)
        assert key is not None
        assert text == (key.example if key.default is None else key.default)


@pytest.mark.parametrize("key", KEYS, ids=lambda key: key.name)
def test_every_key_is_whole(key: Key) -> None:
    assert find(key.name) is key
    assert all(find(alias) is key for alias in key.aliases)
    assert key.doc.endswith(".") and key.banner
    assert (key.default is None) == bool(key.example)
    key.kind.read(key.default if key.default is not None else key.example)
    assert not known(key.name), "a key is either supported or not"


def test_no_name_is_there_twice() -> None:
    names = [name for key in KEYS for name in (key.name, *key.aliases)]
    assert len(set(names)) == len(names)
    assert len(set(KNOWN)) == len(KNOWN)


def test_every_category_has_a_level() -> None:
    for category in (*CATEGORIES, "default", "console", "file"):
        key = find(f"log.{category}.level")
        assert key is not None
        assert key.kind.read("notice") in LEVELS


@pytest.mark.parametrize(
    ("pattern", "name", "yes"),
    [
        ("a.$x", "a.b", True),
        ("a.$x", "a", False),
        ("a.$x", "a.b.c", False),
        ("a.$x", r"a.b\.c", True),
        ("a.$x.c", "a.b.c", True),
        ("a.$x.c", "a.b.d", False),
        ("a.**", "a.b.c.d", True),
        ("a.**", "a.b", True),
        ("a.**", "a", False),
        ("a.b", "a.b", True),
    ],
)
def test_patterns(pattern: str, name: str, yes: bool) -> None:
    assert matches(pattern, name) is yes


def test_a_dot_can_belong_to_a_word() -> None:
    assert split(r"loopback_users.bob\.smith") == ["loopback_users", "bob.smith"]


@pytest.mark.parametrize(
    "name",
    [
        "vm_memory_calculation_strategy",
        "consumer_disconnected_timeout",
        "listeners.ssl.default",
        "ssl_options.cacertfile",
        "ssl_options.versions.1",
        "management.tcp.port",
        "management.cors.allow_origins.1",
        "management_agent.disable_metrics_collector",
        "prometheus.tcp.port",
        "cluster_formation.k8s.host",
        "cluster_partition_handling",
        "deprecated_features.permit.transient_nonexcl_queues",
        "deprecated_features.permit.global_qos",
        "log.file.rotation.date",
        "log.console.formatter.json.field_map",
        "log.exchange.formatter",
        "auth_backends.1",
        "auth_backends.2.authn",
        "default_policies.operator.strict.classic_queues.ha_mode",
        "quorum_queue.initial_cluster_size",
        "quorum_queue.continuous_membership_reconciliation.enabled",
        "mqtt.vhost",
        "tcp_listen_options.linger.timeout",
    ],
)
def test_rabbitmq_keys_that_are_known(name: str) -> None:
    assert known(name)
    assert find(name) is None


@pytest.mark.parametrize(
    "name", ["ssl_options.cacertfiel", "heartbeats", "log.conection.level", "tcp_listen_options.x"]
)
def test_a_misspelt_key_is_not_known(name: str) -> None:
    assert not known(name)
    assert find(name) is None


def test_every_variable_of_rabbitmq_names_a_key() -> None:
    assert all(find(key) is not None for key in env.PLAIN.values())
