"""Settings from the environment."""

from __future__ import annotations

import pytest

from amqpd.config import env
from amqpd.config.reader import Rank


def found(**environ: str) -> list[tuple[str, str, str]]:
    """What is set, by key, text and variable; without warnings."""
    warnings: list[str] = []
    entries = env.read(environ, warnings)
    assert warnings == []
    assert all(entry.rank is Rank.ENVIRONMENT for entry in entries)
    return [(entry.key, entry.text, entry.origin.removeprefix("environment ")) for entry in entries]


@pytest.mark.parametrize(
    ("variable", "text", "key", "value"),
    [
        ("AMQPD_HEARTBEAT", "30", "heartbeat", "30"),
        ("AMQPD_LISTENERS__TCP__DEFAULT", "5673", "listeners.tcp.default", "5673"),
        ("AMQPD_LOG__CONSOLE", "false", "log.console", "false"),
        ("AMQPD_FRAME_MAX", "", "frame_max", ""),
        ("AMQPD_DATA_DIR", "/data", "data_dir", "/data"),
        ("RABBITMQ_DEFAULT_USER", "me", "default_user", "me"),
        ("RABBITMQ_DEFAULT_PASS", "pw", "default_pass", "pw"),
        ("RABBITMQ_DEFAULT_VHOST", "v", "default_vhost", "v"),
        ("RABBITMQ_NODE_PORT", "5673", "listeners.tcp.default", "5673"),
        ("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1", "listeners.tcp.default", "127.0.0.1:5672"),
        ("RABBITMQ_LOG_BASE", "/var/log/rabbitmq", "log.dir", "/var/log/rabbitmq"),
        ("RABBITMQ_LOGS", "/var/log/x.log", "log.file", "/var/log/x.log"),
        ("RABBITMQ_MNESIA_DIR", "/m/rabbit", "data_dir", "/m/rabbit/amqpd"),
        ("RABBITMQ_MNESIA_BASE", "/m/", "data_dir", "/m/amqpd"),
        ("RABBITMQ_DATA_DIR", "/var/lib/rabbitmq", "data_dir", "/var/lib/rabbitmq/amqpd"),
    ],
)
def test_one_variable(variable: str, text: str, key: str, value: str) -> None:
    assert found(**{variable: text}) == [(key, value, variable)]


def test_address_and_port_are_one_listener() -> None:
    both = {"RABBITMQ_NODE_IP_ADDRESS": "::1", "RABBITMQ_NODE_PORT": "5673"}
    assert found(**both) == [("listeners.tcp.default", "::1:5673", "RABBITMQ_NODE_PORT")]


def test_logs_to_standard_output() -> None:
    assert found(RABBITMQ_LOGS="-") == [
        ("log.console", "true", "RABBITMQ_LOGS"),
        ("log.file", "false", "RABBITMQ_LOGS"),
    ]


def test_the_nearest_data_directory_holds() -> None:
    both = {"RABBITMQ_DATA_DIR": "/b", "RABBITMQ_MNESIA_DIR": "/a"}
    assert found(**both) == [("data_dir", "/a/amqpd", "RABBITMQ_MNESIA_DIR")]


def test_ours_come_after_rabbitmqs() -> None:
    assert [text for _, text, _ in found(AMQPD_DEFAULT_USER="a", RABBITMQ_DEFAULT_USER="r")] == ["r", "a"]


@pytest.mark.parametrize("name", [*env.PLAIN, *env.DATA_DIRECTORIES, "RABBITMQ_NODE_PORT", "RABBITMQ_LOGS"])
def test_empty_variables_of_rabbitmq_do_not_count(name: str) -> None:
    assert found(**{name: ""}) == []


def test_what_is_nobodys_business() -> None:
    kubernetes = {"RABBITMQ_SERVICE_HOST": "10.0.0.1", "RABBITMQ_PORT_5672_TCP": "tcp://10.0.0.1:5672"}
    assert found(**kubernetes, PATH="/bin", RABBITMQ_VERSION="4.2.0", AMQPD_CONFIG_FILE="/x") == []


def test_what_is_not_supported_is_named() -> None:
    warnings: list[str] = []
    names = ("RABBITMQ_NODENAME", "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", "RABBITMQ_SSL_KEYFILE")
    assert env.read({**dict.fromkeys(names, "x"), "RABBITMQ_CONF_ENV_FILE": ""}, warnings) == []
    assert warnings == [
        f"environment {name}: is a RabbitMQ variable that amqpd does not support yet; it is ignored" for name in names
    ]


@pytest.mark.parametrize("output", ["-stderr", "exchange:", "syslog:"])
def test_other_log_outputs_are_named(output: str) -> None:
    warnings: list[str] = []
    assert env.read({"RABBITMQ_LOGS": output}, warnings) == []
    assert warnings == [f"environment RABBITMQ_LOGS: amqpd does not support the output '{output}' yet; it is ignored"]
