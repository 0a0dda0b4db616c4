"""Sources laid over each other, everything that is wrong said at once, and what a reload changes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from amqpd.config.errors import ConfigError
from amqpd.config.kinds import Listener
from amqpd.config.reader import Rank
from amqpd.config.settings import Settings, default_data_dir, load


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "test.conf"


def given(file: Path, text: str, environ: dict[str, str] | None = None, **overrides: str) -> Settings:
    """Settings from a file with this text; `__` in an override's name is a dot."""
    file.write_text(text)
    return load(str(file), {name.replace("__", "."): value for name, value in overrides.items()}, environ or {})


def refused(file: Path, text: str, environ: dict[str, str] | None = None, **overrides: str) -> list[str]:
    """The problems of such settings, without the directory of the file."""
    with pytest.raises(ConfigError) as caught:
        given(file, text, environ, **overrides)
    assert str(caught.value) == "\n".join(caught.value.problems)
    return [problem.removeprefix(f"{file.parent}/") for problem in caught.value.problems]


# Defaults.


def test_the_defaults() -> None:
    settings = load(None, {}, {})
    assert settings.files == () and settings.warnings == ()
    assert settings.listeners == [Listener(None, 5672)]
    assert settings.mechanisms == ("PLAIN", "AMQPLAIN")
    assert settings.loopback_users == {"guest"}
    assert settings.default_user_tags == ("administrator",)
    assert [settings.text(f"default_{what}") for what in ("user", "pass", "vhost")] == ["guest", "guest", "/"]
    assert settings.integer("heartbeat") == 60
    assert settings.integer("frame_max") == 131072
    assert settings.integer("channel_max") == 2047
    assert settings.integer("max_message_size") == 16 << 20
    assert settings.integer("handshake_timeout") == 10_000
    assert settings.integer("journal.segment_size") == 64 << 20
    assert settings.limit("max_connections") is None
    assert settings.limit("consumer_max_per_channel") is None
    assert settings.limit("total_memory_available_override_value") is None
    assert settings.threshold("vm_memory_high_watermark") == (None, 0.6)
    assert settings.threshold("disk_free_limit") == (50_000_000, None)
    assert settings.integer("memory_monitor_interval") == 1000
    assert settings.flag("log.console") and settings.log_file() is None
    assert settings.text("cluster_name") == ""
    assert settings.text("product.name") == "RabbitMQ" and settings.text("product.version") == "4.2.0"
    assert settings.origin("heartbeat") == "default" and not settings.is_set("heartbeat")


# Precedence.


def test_each_source_counts_more_than_the_one_before(file: Path) -> None:
    drop_in = file.parent / "conf.d" / "10.conf"
    drop_in.parent.mkdir()
    drop_in.write_text("\nheartbeat = 20\n")
    ours = {"AMQPD_HEARTBEAT": "30"}
    seen = [
        (settings.integer("heartbeat"), settings.origin("heartbeat"), settings.rank("heartbeat"))
        for settings in (
            given(file, "# nothing\nheartbeat = 10"),
            given(file, "heartbeat = 10", ours),
            given(file, "heartbeat = 10", ours, heartbeat="40"),
        )
    ]
    assert seen == [
        (20, f"{drop_in}:2", Rank.DROP_IN),
        (30, "environment AMQPD_HEARTBEAT", Rank.ENVIRONMENT),
        (40, "command line", Rank.COMMAND_LINE),
    ]
    drop_in.unlink()
    settings = given(file, "# nothing\nheartbeat = 10")
    assert (settings.integer("heartbeat"), settings.origin("heartbeat")) == (10, f"{file}:2")


def test_the_last_of_two_holds_also_by_an_alias(file: Path) -> None:
    settings = given(file, "connection_max = 1\nmax_connections = 2\nconnection_max = 3\nlog.level = debug")
    assert settings.limit("max_connections") == settings.limit("connection_max") == 3
    assert settings.origin("max_connections") == f"{file}:3"
    assert settings.text("log.default.level") == "debug"


def test_our_variables_count_more_than_rabbitmqs() -> None:
    environ = {"AMQPD_DEFAULT_USER": "a", "RABBITMQ_DEFAULT_USER": "r", "RABBITMQ_DEFAULT_PASS": "p"}
    settings = load(None, {}, environ)
    assert (settings.text("default_user"), settings.text("default_pass")) == ("a", "p")
    assert settings.origin("default_pass") == "environment RABBITMQ_DEFAULT_PASS"


# Lists.


@pytest.mark.parametrize(
    ("text", "listeners"),
    [
        ("listeners.tcp.default = 5673", [Listener(None, 5673)]),
        ("listeners.tcp.1 = 127.0.0.1:5673", [Listener("127.0.0.1", 5673)]),
        (
            "listeners.tcp.10 = 1010\nlisteners.tcp.9 = 909\nlisteners.tcp.x = [::1]:5672",
            [Listener(None, 909), Listener(None, 1010), Listener("::1", 5672)],
        ),
        ("listeners.tcp = none", []),
        ("listeners.tcp = none\nlisteners.tcp.default = 5673", []),
        ("listeners.tcp.a = 127.0.0.1:1\nlisteners.tcp.b = 127.0.0.2:1", [Listener(f"127.0.0.{n}", 1) for n in (1, 2)]),
        ("listeners.tcp.a = 0\nlisteners.tcp.b = 0", [Listener(None, 0)] * 2),
    ],
)
def test_listeners(file: Path, text: str, listeners: list[Listener]) -> None:
    assert given(file, text).listeners == listeners


def test_a_listener_from_the_command_line_opens_what_the_file_closes(file: Path) -> None:
    settings = given(file, "listeners.tcp = none\nlisteners.tcp.a = 1", listeners__tcp__default="127.0.0.1:0")
    assert settings.listeners == [Listener("127.0.0.1", 0)]


@pytest.mark.parametrize(
    ("text", "users"),
    [
        ("loopback_users.guest = false", set()),
        ("loopback_users = none", set()),
        ("loopback_users.guest = true", {"guest"}),
        ("loopback_users.bob = true", {"bob"}),
        (r"loopback_users.bob\.smith = true", {"bob.smith"}),
    ],
)
def test_loopback_users(file: Path, text: str, users: set[str]) -> None:
    assert given(file, text).loopback_users == users


def test_tags_and_mechanisms(file: Path) -> None:
    settings = given(
        file,
        "default_user_tags.administrator = false\ndefault_user_tags.monitoring = true\n"
        "auth_mechanisms.10 = PLAIN\nauth_mechanisms.2 = AMQPLAIN\nauth_mechanisms.11 = PLAIN",
    )
    assert settings.default_user_tags == ("monitoring",)
    assert settings.mechanisms == ("AMQPLAIN", "PLAIN")


# What is wrong.


def test_all_problems_are_said_at_once(file: Path) -> None:
    problems = refused(
        file,
        "hartbeat = 3\nframe_max = small\nnonsense\nlog.console = maybe\ndefault_pass = $(NO)",
        {"AMQPD_CHANEL_MAX": "5", "RABBITMQ_NODE_PORT": "amqp"},
        heartbeat="99999",
    )
    assert problems == [
        "test.conf:3: 'nonsense' is not of the form key = value",
        "test.conf:5: default_pass: there is no environment variable NO",
        "test.conf:1: hartbeat: is not a known key; did you mean heartbeat?",
        "test.conf:2: frame_max: 'small' is not a size, such as 131072, 128kB or 16MiB",
        "test.conf:4: log.console: 'maybe' is neither true nor false",
        "environment RABBITMQ_NODE_PORT: listeners.tcp.default: 'amqp' is neither a port nor an IP address:port",
        "environment AMQPD_CHANEL_MAX: chanel_max: is not a known key; did you mean channel_max?",
        "command line: heartbeat: '99999' is out of range: 0 to 65535 is possible",
    ]


def test_an_unknown_key_that_resembles_none(file: Path) -> None:
    assert refused(file, "zzz = 1") == ["test.conf:1: zzz: is not a known key"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("frame_max = 4095", "1: frame_max: '4095' is out of range: 0 or 4096 to 4294967295 is possible"),
        ("max_message_size = 1GB", "1: max_message_size: '1GB' is out of range: 1 to 536870912 is possible"),
        (
            "initial_frame_max = 200000",
            "1: initial_frame_max: initial_frame_max (200000) is larger than frame_max (131072)",
        ),
        ("frame_max = 4096", "1: frame_max: initial_frame_max (8192) is larger than frame_max (4096)"),
        (
            "listeners.tcp.a = 5672\nlisteners.tcp.b = 127.0.0.1:5672",
            "2: listeners.tcp.b: port 5672 is taken by listeners.tcp.a already",
        ),
        (
            "listeners.tcp.a = 127.0.0.1:1\nlisteners.tcp.b = 127.0.0.1:1",
            "2: listeners.tcp.b: port 1 is taken by listeners.tcp.a already",
        ),
        (
            "auth_mechanisms.1 = EXTERNAL",
            "1: auth_mechanisms.1: 'EXTERNAL' is not possible; it can be PLAIN or AMQPLAIN",
        ),
        ("default_pass = encrypted:x", "1: default_pass: encrypted values are not supported"),
        ("default_user = ''", "1: default_user: '' is empty"),
    ],
)
def test_impossible_values(file: Path, text: str, problem: str) -> None:
    assert refused(file, text) == [f"test.conf:{problem}"]


def test_frames_without_limit_fit_anything(file: Path) -> None:
    assert given(file, "frame_max = 0\ninitial_frame_max = 200000").integer("frame_max") == 0


def test_a_wrong_value_is_not_reported_twice(file: Path) -> None:
    assert len(refused(file, "frame_max = x\ninitial_frame_max = 200000")) == 1
    assert len(refused(file, "listeners.tcp.a = 1\nlisteners.tcp.b = 1\nlisteners.tcp.c = x")) == 1


def test_a_missing_file_is_a_problem(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(str(tmp_path / "gone.conf"), {}, {})
    assert str(caught.value) == f"command line: there is no configuration file {tmp_path / 'gone.conf'}"


# A file from the world.

DOCKER = """\
## the docker image
loopback_users.guest = false
listeners.tcp.default = 5672
management.tcp.port = 15672
management_agent.disable_metrics_collector = true
log.console = true

## what people add
default_user = app
default_pass = 's3cr#t'
default_vhost = shop
default_user_tags.administrator = true
default_permissions.configure = .*
default_permissions.read = .*
default_permissions.write = .*
vm_memory_high_watermark.relative = 0.6
disk_free_limit.absolute = 2GB
consumer_timeout = 3600000
consumer_disconnected_timeout = 60000
heartbeat = 30
channel_max = 1024
load_definitions = /etc/rabbitmq/definitions.json
log.console.level = warning
log.console.formatter = json
cluster_formation.peer_discovery_backend = kubernetes
cluster_formation.k8s.host = kubernetes.default.svc.cluster.local
cluster_partition_handling = autoheal
queue_master_locator = min-masters
ssl_options.certfile = /tls/tls.crt
prometheus.return_per_object_metrics = true
deprecated_features.permit.global_qos = true
"""
IGNORED = (
    "management.tcp.port",
    "management_agent.disable_metrics_collector",
    "consumer_disconnected_timeout",
    "cluster_formation.peer_discovery_backend",
    "cluster_formation.k8s.host",
    "cluster_partition_handling",
    "queue_master_locator",
    "ssl_options.certfile",
    "prometheus.return_per_object_metrics",
    "deprecated_features.permit.global_qos",
)


def test_a_file_from_docker_and_kubernetes(etc: Path) -> None:
    main = etc / "rabbitmq" / "rabbitmq.conf"
    main.write_text(DOCKER)
    environ = {"RABBITMQ_LOGS": "-", "RABBITMQ_DATA_DIR": "/var/lib/rabbitmq", "RABBITMQ_SERVICE_HOST": "10.0.0.1"}
    settings = load(None, {}, environ)
    assert settings.files == (str(main),)
    lines = {text.partition(" = ")[0]: number for number, text in enumerate(DOCKER.splitlines(), 1)}
    assert settings.warnings == tuple(
        f"{main}:{lines[key]}: {key}: is a rabbitmq.conf key that amqpd does not support yet; it is ignored"
        for key in IGNORED
    )
    assert settings.loopback_users == frozenset()
    assert settings.text("default_pass") == "s3cr#t"
    assert settings.text("default_vhost") == "shop"
    assert settings.integer("heartbeat") == 30
    assert settings.text("log.console.formatter") == "json"
    assert settings.data_dir == Path("/var/lib/rabbitmq/amqpd")


# Directories.


def test_the_data_directory_when_nobody_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0, raising=False)
    assert default_data_dir({"XDG_DATA_HOME": "/x"}) == Path("/var/lib/amqpd")
    monkeypatch.setattr(os, "geteuid", lambda: 1000, raising=False)
    assert default_data_dir({"XDG_DATA_HOME": "/x", "HOME": "/home/me"}) == Path("/x/amqpd")
    assert default_data_dir({"HOME": "/home/me"}) == Path("/home/me/.local/share/amqpd")
    assert default_data_dir({"XDG_DATA_HOME": "relative", "HOME": "/home/me"}) == Path("/home/me/.local/share/amqpd")


def test_where_log_files_are(file: Path) -> None:
    assert given(file, "data_dir = /d\nlog.file = a.log").log_file() == Path("/d/log/a.log")
    assert given(file, "log.dir = /l\nlog.file = a.log").log_file() == Path("/l/a.log")
    assert given(file, "log.dir = /l\nlog.file = /x/a.log").log_file() == Path("/x/a.log")


def test_a_tilde_is_the_home(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert given(file, "data_dir = ~/d").data_dir == Path("/home/me/d")


# Asking.


@pytest.mark.parametrize(
    ("method", "name"),
    [("integer", "max_connections"), ("limit", "log.console"), ("flag", "heartbeat"), ("text", "heartbeat")],
)
def test_asking_for_another_type(method: str, name: str) -> None:
    with pytest.raises(KeyError):
        getattr(load(None, {}, {}), method)(name)


@pytest.mark.parametrize(
    ("text", "memory", "disk"),
    [
        ("vm_memory_high_watermark.absolute = 2GB\ndisk_free_limit.relative = 1.5", (2_000_000_000, None), (None, 1.5)),
        ("vm_memory_high_watermark.relative = 0.4\ndisk_free_limit.absolute = 1GiB", (None, 0.4), (1 << 30, None)),
        (
            "vm_memory_high_watermark.relative = 0.4\nvm_memory_high_watermark.absolute = 1024\n"
            "disk_free_limit.relative = 1\ndisk_free_limit.absolute = 1024",
            (1024, None),
            (1024, None),
        ),
    ],
)
def test_limits_in_octets_or_as_fractions(
    file: Path, text: str, memory: tuple[int | None, float | None], disk: tuple[int | None, float | None]
) -> None:
    settings = given(file, text)
    assert settings.threshold("vm_memory_high_watermark") == memory
    assert settings.threshold("disk_free_limit") == disk


def test_a_fraction_from_a_source_that_counts_more(file: Path) -> None:
    environ = {"AMQPD_VM_MEMORY_HIGH_WATERMARK__RELATIVE": "0.5"}
    settings = given(file, "vm_memory_high_watermark.absolute = 2GB", environ)
    assert settings.threshold("vm_memory_high_watermark") == (None, 0.5)


@pytest.mark.parametrize("method", ["integer", "flag", "text"])
def test_asking_for_what_is_no_key(method: str) -> None:
    with pytest.raises(KeyError):
        getattr(load(None, {}, {}), method)("hartbeat")


def test_what_is_in_force(file: Path) -> None:
    text = "default_pass = secret\nlisteners.tcp.x = 1\nframe_max = 128kB\ncluster_name = c"
    rows = {name: (value, origin) for name, value, origin in given(file, text, data_dir="/d").effective()}
    assert rows["default_pass"] == ("********", f"{file}:1")
    assert rows["listeners.tcp.x"] == ("1", f"{file}:2")
    assert rows["frame_max"] == ("128kB", f"{file}:3")
    assert rows["cluster_name"] == ("c", f"{file}:4")
    assert rows["data_dir"] == ("/d", "command line")
    assert rows["log.dir"] == ("/d/log", "default")
    assert rows["heartbeat"] == ("60", "default")
    assert "listeners.tcp.default" not in rows and "log.file.level" not in rows
    assert "secret" not in str(rows)


# Reloading.


def test_what_a_reload_changes(file: Path) -> None:
    old = given(file, "heartbeat = 10\nlog.console.level = debug\nlisteners.tcp.a = 1")
    new = given(file, "heartbeat = 20\nlisteners.tcp.a = 2\ndata_dir = /d\nloopback_users.guest = false")
    changes = old.changes(new)
    assert changes.reloadable == ("loopback_users.guest", "heartbeat", "log.console.level", "log.dir")
    assert changes.restart == ("listeners.tcp.a", "data_dir")
    assert old.changes(old) == ((), ())


def test_saying_the_default_changes_nothing(file: Path) -> None:
    assert given(file, "").changes(given(file, "heartbeat = 60\nlisteners.tcp.default = 5672")) == ((), ())


# ------------------------------------------------------------------------------------------------- definitions


@pytest.mark.parametrize(
    ("lines", "path"),
    [
        ("", None),
        ("load_definitions = /a.json", "/a.json"),
        ("management.load_definitions = /b.json", "/b.json"),
        ("definitions.import_backend = local\ndefinitions.local.path = /c", "/c"),
    ],
)
def test_where_definitions_come_from(tmp_path: Path, lines: str, path: str | None) -> None:
    file = tmp_path / "amqpd.conf"
    file.write_text(lines)
    assert load(str(file), {}, {}).definitions == (Path(path) if path is not None else None)
    if path is None:
        found = load(str(file), {}, {"RABBITMQ_LOAD_DEFINITIONS": "/d.json"}).definitions
        assert found == Path("/d.json")


@pytest.mark.parametrize(
    ("line", "missing"),
    [
        ("definitions.import_backend = local_filesystem", "definitions.local.path"),
        ("definitions.local.path = /c", "definitions.import_backend"),
    ],
)
def test_half_a_place_for_definitions_is_refused(tmp_path: Path, line: str, missing: str) -> None:
    file = tmp_path / "amqpd.conf"
    file.write_text(line)
    with pytest.raises(ConfigError, match=rf":1: .* is set, but {missing} is not"):
        load(str(file), {}, {})
