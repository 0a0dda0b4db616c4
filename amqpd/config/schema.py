"""Every key that amqpd understands, once: its type, its default, what it is for.

A word that begins with `$` stands for any word, chosen by whoever writes the file. Keys that share a `family` are one
list; its default holds while none of its members is set, so `listeners.tcp.internal = 127.0.0.1:5673` alone closes
port 5672, and `default_user_tags.monitoring = true` alone makes no administrator. That is how RabbitMQ reads them.

`default` and `example` are texts as a file has them. Without a default the key is not set, or its value is worked out
by `settings`; the example file then shows `example`.
Source: RabbitMQ's deps/rabbit/priv/schema/rabbit.schema.
"""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass

from amqpd.config.kinds import Choice, Duration, Endpoint, Flag, Fraction, Integer, Kind, LogFile, Regex, Size, Text

__all__ = ["CATEGORIES", "KEYS", "LEVELS", "Key", "example", "find", "matches", "split"]

LEVELS = {
    "debug": 10,
    "info": 20,
    "notice": 25,
    "warning": 30,
    "error": 40,
    "critical": 50,
    "alert": 60,
    "emergency": 70,
    "none": 100,
}
"""RabbitMQ's log levels on the scale of Python's logging."""

CATEGORIES = ("connection", "channel", "queue")
"""The parts of the log with a level of their own: `amqpd.connection` is the logger of the first."""

LEVEL = Choice(tuple(LEVELS))
FORMATTER = Choice(("plaintext", "json"), {"text": "plaintext"})
TEN_YEARS = 315_360_000_000
OCTETS_4 = (1 << 32) - 1
BACKLOG_MAX = (1 << 31) - 1
MEMORY_MAX = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class Key:
    """One key. `reloadable`: a changed value is taken up on SIGHUP. `since`: the amqpd version that brought it."""

    name: str
    kind: Kind
    default: str | None
    doc: str
    banner: str
    reloadable: bool = False
    since: str = "0.1"
    aliases: tuple[str, ...] = ()
    family: str = ""
    example: str = ""
    secret: bool = False


NETWORK = "Network"
FIRST_START = "First start: what an empty database is filled with"
DEFINITIONS = "Definitions: what is imported at each start"
LOGIN = "Login"
LIMITS = "Connections and their limits"
NEW_VHOSTS = "What every new virtual host is given whose name matches a pattern"
IDENTITY = "What the broker says of itself"
QUEUES = "Queues and storage"
RESOURCES = "Memory and disk: when publishers have to wait"
LOGGING = "Logging"


def group(prefix: str, *fields: tuple[str, Kind, str, str]) -> tuple[Key, ...]:
    """The keys PREFIX.FIELD, a family for all words that the last of PREFIX stands for: field, type, example, doc."""
    family = prefix.rpartition(".")[0]
    return tuple(
        Key(
            f"{prefix}.{field}",
            kind,
            None,
            doc,
            NEW_VHOSTS,
            reloadable=True,
            family=family,
            example=example,
            secret=field == "password",
        )
        for field, kind, example, doc in fields
    )


DEFAULTS_OF_VHOSTS = (
    *group(
        "default_limits.vhosts.$id",
        ("pattern", Regex(), ".*", "Names of virtual hosts. Of several groups the first that matches counts."),
        ("max_connections", Integer(-1, OCTETS_4), "100", "Connections; -1 is no limit."),
        ("max_queues", Integer(-1, OCTETS_4), "1000", "Queues; -1 is no limit."),
    ),
    *group(
        "default_policies.operator.$id",
        ("vhost_pattern", Regex(), ".*", "Names of virtual hosts that get an operator policy of this name."),
        ("queue_pattern", Regex(), ".*", "Its pattern. Without it: .*."),
        (
            "apply_to",
            Choice(("all", "queues", "classic_queues", "quorum_queues", "streams")),
            "queues",
            "What it applies to. Without it: all.",
        ),
        ("expires", Duration(1, TEN_YEARS), "1h", "Its key expires."),
        ("message_ttl", Duration(0, TEN_YEARS), "1h", "Its key message-ttl."),
        ("max_length", Integer(0, MEMORY_MAX), "100000", "Its key max-length."),
        ("max_length_bytes", Size(0, MEMORY_MAX), "1GB", "Its key max-length-bytes."),
        ("max_in_memory_length", Integer(0, MEMORY_MAX), "1000", "Its key max-in-memory-length."),
        ("max_in_memory_bytes", Size(0, MEMORY_MAX), "1MB", "Its key max-in-memory-bytes."),
        ("delivery_limit", Integer(-1, OCTETS_4), "20", "Its key delivery-limit."),
    ),
    *group(
        "default_users.$user",
        ("vhost_pattern", Regex(), ".*", "Names of virtual hosts that the user of this name may enter."),
        ("password", Text(), "secret", "The password, if the user has to be created. Without it: no such login."),
        ("tags", Text("words with commas between"), "monitoring", "The tags, if the user has to be created."),
        ("configure", Regex(), ".*", "What the user may declare and delete. Without it: .*."),
        ("write", Regex(), ".*", "What the user may publish to and bind. Without it: .*."),
        ("read", Regex(), ".*", "What the user may consume and bind from. Without it: .*."),
    ),
)
"""What every new virtual host is given whose name matches."""

KEYS: tuple[Key, ...] = (
    Key(
        "listeners.tcp.default",
        Endpoint(),
        "5672",
        "Where AMQP connections are accepted. Without an address: on all of them, IPv4 and IPv6.",
        NETWORK,
        family="listeners.tcp",
    ),
    Key(
        "listeners.tcp.$name",
        Endpoint(),
        None,
        "Further listeners, each with a name of its own. Setting any listener drops the default on port 5672.",
        NETWORK,
        family="listeners.tcp",
        example="127.0.0.1:5673",
    ),
    Key(
        "listeners.tcp",
        Choice(("none",)),
        None,
        "Accept no plain TCP connections, whatever listeners are named beside it.",
        NETWORK,
        example="none",
    ),
    Key(
        "tcp_listen_options.backlog",
        Integer(1, BACKLOG_MAX),
        "128",
        "Connections that the system holds for us until they are accepted.",
        NETWORK,
    ),
    Key(
        "tcp_listen_options.nodelay",
        Flag(),
        "true",
        "Send small packets at once (TCP_NODELAY).",
        NETWORK,
    ),
    Key(
        "tcp_listen_options.keepalive",
        Flag(),
        "false",
        "Let the system look for dead peers (SO_KEEPALIVE).",
        NETWORK,
    ),
    Key("default_user", Text(), "guest", "The name of the first user.", FIRST_START),
    Key("default_pass", Text(empty=True), "guest", "The first user's password.", FIRST_START, secret=True),
    Key("default_vhost", Text(), "/", "The name of the first virtual host.", FIRST_START),
    Key(
        "default_user_tags.administrator",
        Flag(),
        "true",
        "Whether the first user is an administrator.",
        FIRST_START,
        family="default_user_tags",
    ),
    Key(
        "default_user_tags.$tag",
        Flag(),
        None,
        "Other tags of the first user. Setting any tag drops the default, administrator.",
        FIRST_START,
        family="default_user_tags",
        example="true",
    ),
    Key(
        "default_permissions.configure",
        Regex(),
        ".*",
        "What the first user may declare and delete in the first virtual host.",
        FIRST_START,
    ),
    Key(
        "default_permissions.read",
        Regex(),
        ".*",
        "What the first user may consume and bind from.",
        FIRST_START,
    ),
    Key(
        "default_permissions.write",
        Regex(),
        ".*",
        "What the first user may publish and bind to.",
        FIRST_START,
    ),
    *DEFAULTS_OF_VHOSTS,
    Key(
        "load_definitions",
        Text("file or directory"),
        None,
        "Definitions (users, virtual hosts, queues ...) in RabbitMQ's JSON that are imported at each start, before "
        "clients can connect: a file, or all *.json of a directory. With it there is no first user but those in there.",
        DEFINITIONS,
        aliases=("management.load_definitions",),
        example="/etc/amqpd/definitions.json",
    ),
    Key(
        "definitions.import_backend",
        Choice(("local_filesystem",), {"local": "local_filesystem"}),
        None,
        "Where definitions come from, beside load_definitions: definitions.local.path.",
        DEFINITIONS,
        example="local_filesystem",
    ),
    Key(
        "definitions.local.path",
        Text("file or directory"),
        None,
        "The same as load_definitions, when definitions.import_backend is set.",
        DEFINITIONS,
        example="/etc/amqpd/definitions.d",
    ),
    Key(
        "definitions.skip_if_unchanged",
        Flag(),
        "false",
        "Do not import definitions whose files are what they were when they were imported last.",
        DEFINITIONS,
    ),
    Key(
        "loopback_users.guest",
        Flag(),
        "true",
        "The user guest can only log in from this machine.",
        LOGIN,
        reloadable=True,
        family="loopback_users",
    ),
    Key(
        "loopback_users.$user",
        Flag(),
        None,
        "Other users who can only log in from this machine. Setting any drops the default, guest.",
        LOGIN,
        reloadable=True,
        family="loopback_users",
        example="true",
    ),
    Key(
        "loopback_users",
        Choice(("none",)),
        None,
        "Everybody can log in from anywhere, whatever users are named beside it.",
        LOGIN,
        reloadable=True,
        example="none",
    ),
    Key(
        "auth_mechanisms.1",
        Choice(("PLAIN", "AMQPLAIN")),
        "PLAIN",
        "The SASL mechanism offered first.",
        LOGIN,
        family="auth_mechanisms",
    ),
    Key(
        "auth_mechanisms.2",
        Choice(("PLAIN", "AMQPLAIN")),
        "AMQPLAIN",
        "The SASL mechanism offered second.",
        LOGIN,
        family="auth_mechanisms",
    ),
    Key(
        "auth_mechanisms.$n",
        Choice(("PLAIN", "AMQPLAIN")),
        None,
        "The mechanisms are offered in the order of their numbers. Setting any drops the defaults.",
        LOGIN,
        family="auth_mechanisms",
        example="PLAIN",
    ),
    Key(
        "password_hashing_module",
        Choice(("rabbit_password_hashing_sha256", "rabbit_password_hashing_sha512")),
        "rabbit_password_hashing_sha256",
        "How new passwords are hashed. Those that are stored already stay as they are.",
        LOGIN,
    ),
    Key(
        "handshake_timeout",
        Duration(1, 86_400_000),
        "10000",
        "The time that a client has from connecting until its login is through.",
        LIMITS,
        reloadable=True,
    ),
    Key(
        "heartbeat",
        Integer(0, 65535),
        "60",
        "The heartbeat interval that is proposed to clients, in seconds. 0 proposes none.",
        LIMITS,
        reloadable=True,
    ),
    Key(
        "frame_max",
        Size(4096, OCTETS_4, zero=True),
        "131072",
        "The largest frame, with its head and end, that clients are offered.",
        LIMITS,
        reloadable=True,
    ),
    Key(
        "initial_frame_max",
        Size(4096, OCTETS_4),
        "8192",
        "The largest frame that is accepted before the login is through. Large tokens need more.",
        LIMITS,
        reloadable=True,
    ),
    Key(
        "channel_max",
        Integer(0, 65535),
        "2047",
        "Channels that one connection can have open. 0: no limit.",
        LIMITS,
        reloadable=True,
        aliases=("max_channels_per_connection",),
    ),
    Key(
        "consumer_max_per_channel",
        Integer(1, OCTETS_4, infinity=True),
        "infinity",
        "Consumers that one channel can have.",
        LIMITS,
        reloadable=True,
    ),
    Key(
        "consumer_timeout",
        Integer(1, OCTETS_4, infinity=True),
        "infinity",
        "Milliseconds that a consumer may keep a delivery without settling it, where neither it nor its queue says "
        "otherwise (x-consumer-timeout, policy consumer-timeout). RabbitMQ's default is 1800000.",
        LIMITS,
        reloadable=True,
    ),
    Key(
        "consumer_timeout.action",
        Choice(("cancel", "close_channel")),
        "cancel",
        "What happens to one that keeps a delivery longer. cancel: it is cancelled, its deliveries go back, and the "
        "channel goes on; a client that does not understand basic.cancel is only named in the log. close_channel: the "
        "channel is closed, as RabbitMQ did up to 4.2.",
        LIMITS,
        reloadable=True,
    ),
    Key(
        "qos.update_existing_consumers",
        Flag(),
        "false",
        "Let a prefetch count (basic.qos, not global) also hold for the consumers that the channel has. RabbitMQ gives "
        "it to later consumers only. Celery needs it for tasks with a countdown or an ETA.",
        LIMITS,
        reloadable=True,
    ),
    Key(
        "max_connections",
        Integer(0, OCTETS_4, infinity=True),
        "infinity",
        "Client connections that the broker accepts.",
        LIMITS,
        reloadable=True,
        aliases=("connection_max",),
    ),
    Key(
        "max_message_size",
        Size(1, 512 << 20),
        "16777216",
        "The largest message body that can be published.",
        LIMITS,
        reloadable=True,
    ),
    Key(
        "product.name",
        Text(),
        "RabbitMQ",
        "The product that clients are told. Kombu, and with it Celery, look at it before they trust the broker.",
        IDENTITY,
    ),
    Key(
        "product.version",
        Text(),
        "4.2.0",
        "The version that clients are told. They choose their ways by it: this is whose behaviour amqpd has.",
        IDENTITY,
    ),
    Key(
        "cluster_name",
        Text(),
        None,
        "The cluster name that clients are told. Without one it is amqpd@ and the name of the machine.",
        IDENTITY,
        example="amqpd@myhost",
    ),
    Key(
        "default_queue_type",
        Choice(("classic", "quorum", "stream")),
        None,
        "The type of durable queues that are declared without one, in virtual hosts that have no such setting of their "
        "own. Without it: classic.",
        QUEUES,
        reloadable=True,
        example="quorum",
    ),
    Key(
        "redeclare",
        Choice(("strict", "relaxed")),
        "strict",
        "What is said to a client that declares a queue or exchange which is there, but with another durability, "
        "auto-delete or other arguments. strict: 406, as RabbitMQ. relaxed: nothing, what is there stays as it is; a "
        "stream for a queue and another type of exchange are errors all the same.",
        QUEUES,
        reloadable=True,
    ),
    Key(
        "quorum_queue.property_equivalence.relaxed_checks_on_redeclaration",
        Flag(),
        "false",
        "Let clients redeclare a quorum queue as a classic one; only arguments that both types know are compared.",
        QUEUES,
        reloadable=True,
    ),
    Key(
        "data_dir",
        Text("directory"),
        None,
        "Where everything durable is kept, and the control socket. Without one: /var/lib/amqpd for root, else "
        "$XDG_DATA_HOME/amqpd or ~/.local/share/amqpd.",
        QUEUES,
        example="/var/lib/amqpd",
    ),
    Key(
        "journal.segment_size",
        Size(1 << 20, 4 << 30),
        "64MiB",
        "The size at which a file of the message journal is closed and the next one begun.",
        QUEUES,
    ),
    Key(
        "vm_memory_high_watermark.relative",
        Fraction(0, 1),
        "0.6",
        "The part of the memory above which clients that publish are no longer read, until there is less in use. The "
        "memory is the machine's, or what the control group allows. 0 stops all publishing.",
        RESOURCES,
        reloadable=True,
    ),
    Key(
        "vm_memory_high_watermark.absolute",
        Size(0, MEMORY_MAX, decimal=True),
        None,
        "The same in octets. Where both are set this one holds.",
        RESOURCES,
        reloadable=True,
        example="2GB",
    ),
    Key(
        "total_memory_available_override_value",
        Size(1, MEMORY_MAX, decimal=True),
        None,
        "How much memory there is, where what the system says is wrong.",
        RESOURCES,
        reloadable=True,
        example="8GB",
    ),
    Key(
        "memory_monitor_interval",
        Duration(100, 3_600_000),
        "1000",
        "The time between looks at the memory in use.",
        RESOURCES,
        reloadable=True,
    ),
    Key(
        "disk_free_limit.absolute",
        Size(0, MEMORY_MAX, decimal=True),
        "50MB",
        "Clients that publish are not read while less than this is free on the disk of the data directory. The less "
        "there is, the more often it is looked at: every 10 s to every 100 ms.",
        RESOURCES,
        reloadable=True,
    ),
    Key(
        "disk_free_limit.relative",
        Fraction(0, 1000),
        None,
        "The same as a multiple of the memory. Where both are set the octets hold.",
        RESOURCES,
        reloadable=True,
        example="1.0",
    ),
    Key("log.console", Flag(), "true", "Log to standard output.", LOGGING, reloadable=True),
    Key(
        "log.console.level",
        LEVEL,
        None,
        "The least level that is written to standard output. Without one: log.default.level.",
        LOGGING,
        reloadable=True,
        example="info",
    ),
    Key(
        "log.console.formatter",
        FORMATTER,
        "plaintext",
        "How lines on standard output are written.",
        LOGGING,
        reloadable=True,
    ),
    Key(
        "log.exchange",
        Flag(),
        "false",
        "Publish what is logged to the exchange amq.rabbitmq.log of the default virtual host, a topic exchange; the "
        "routing key is the level.",
        LOGGING,
    ),
    Key("log.exchange.level", LEVEL, "info", "The least level that is published.", LOGGING),
    Key(
        "event_exchange.enabled",
        Flag(),
        "false",
        "Publish what happens (queue.created, connection.closed, ...) to the exchange amq.rabbitmq.event, as the "
        "plugin of RabbitMQ does.",
        LOGGING,
    ),
    Key(
        "event_exchange.vhost",
        Text(),
        None,
        "The virtual host of that exchange. Without it: the default virtual host.",
        LOGGING,
        example="/",
    ),
    Key(
        "log.file",
        LogFile(),
        "false",
        "A file to log to. A name without a directory is one in log.dir.",
        LOGGING,
        reloadable=True,
    ),
    Key(
        "log.file.level",
        LEVEL,
        None,
        "The least level that is written to the file. Without one: log.default.level.",
        LOGGING,
        reloadable=True,
        example="info",
    ),
    Key(
        "log.file.formatter",
        FORMATTER,
        "plaintext",
        "How lines in the file are written.",
        LOGGING,
        reloadable=True,
    ),
    Key(
        "log.dir",
        Text("directory"),
        None,
        "The directory of log files. Without one: log in data_dir.",
        LOGGING,
        reloadable=True,
        example="/var/log/amqpd",
    ),
    Key(
        "log.default.level",
        LEVEL,
        "info",
        "The least level of what belongs to no category below.",
        LOGGING,
        reloadable=True,
        aliases=("log.level",),
    ),
    *(
        Key(
            f"log.{category}.level",
            LEVEL,
            None,
            f"The least level of what is logged about {category}s. Without one: log.default.level.",
            LOGGING,
            reloadable=True,
            example="info",
        )
        for category in CATEGORIES
    ),
)

BY_NAME = {name: key for key in KEYS for name in (key.name, *key.aliases)}
WILDCARDS = tuple(key for key in KEYS if "$" in key.name)


def split(name: str) -> list[str]:
    """The words of a key. A dot that belongs to a word has a backslash before it."""
    return [word.replace("\\.", ".") for word in re.split(r"(?<!\\)\.", name)]


def matches(pattern: str, name: str) -> bool:
    """Whether this key is of this pattern: `$word` is any one word, `**` at the end any one or more."""
    words, wanted = split(name), split(pattern)
    if wanted[-1] == "**":
        wanted.pop()
        if len(words) <= len(wanted):
            return False
        words = words[: len(wanted)]
    return len(words) == len(wanted) and all(
        mine.startswith("$") or mine == word for mine, word in zip(wanted, words, strict=True)
    )


def find(name: str) -> Key | None:
    """The key of this name, or the one with a wildcard that it is a case of."""
    return BY_NAME.get(name) or next((key for key in WILDCARDS if matches(key.name, name)), None)


STAND_INS = {"$name": "internal", "$tag": "monitoring", "$user": "alice", "$n": "3", "$id": "first"}
"""What the example file has for the words that are free."""

INTRODUCTION = """\
The configuration of amqpd: every key, with its default, commented out.

The format is that of rabbitmq.conf, and so are the keys: `key = value`, a comment from # to the end of the line,
'single quotes' around a value with a # in it, $(NAME) for the value of an environment variable. Files in conf.d beside
this one, conf.d/*.conf, are read after it in the order of their names; what is read last holds. The environment
(AMQPD_HEARTBEAT=30; a dot is written __) goes before the files, the command line before both.

`amqpd --check-config` says what is wrong, and where each value comes from. [reload]: a changed value is taken up on
SIGHUP; the others need a restart."""


def example() -> str:
    """The text of conf/amqpd.conf."""
    lines = [f"## {line}".rstrip() for line in INTRODUCTION.splitlines()]
    banner = ""
    for key in KEYS:
        if key.banner != banner:
            banner = key.banner
            lines += ["", f"#{'=' * 78}", f"# {banner}", f"#{'=' * 78}"]
        doc = f"{key.doc} ({key.kind.expects}; since {key.since})" + (" [reload]" if key.reloadable else "")
        lines += ["", *textwrap.wrap(doc, 116, initial_indent="## ", subsequent_indent="## ", break_long_words=False)]
        if key.aliases:
            lines.append(f"## Also called: {', '.join(key.aliases)}.")
        name = ".".join(STAND_INS.get(word, word) for word in key.name.split("."))
        lines.append(f"# {name} = {key.default if key.default is not None else key.example}")
    return "\n".join([*lines, ""])
