"""The list_* commands: for each list, where it comes from and which columns it has.

A column is what rabbitmqctl calls it; `renamed` says where the API keeps its value under another name. Columns that
rabbitmqctl has and for which there is no value here are accepted and stay empty, so that scripts go on working.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import click

from amqpd.cli.control_client import EX_USAGE, Failure
from amqpd.cli.control_tool import ControlCommand, Session, no_user, no_vhost, pass_session

__all__ = ["COMMANDS"]


@dataclass(frozen=True, slots=True)
class Listing:
    """One list.

    `path` is the API's collection, `default` the columns printed when none are asked for; `constant` columns are the
    same in every row.
    """

    path: str
    columns: tuple[str, ...]
    default: tuple[str, ...]
    renamed: Mapping[str, str] = field(default_factory=dict)
    constant: Mapping[str, str] = field(default_factory=dict)

    def chosen(self, names: Sequence[str]) -> list[str]:
        """The columns asked for, with blanks or commas between them. Raises Failure for one that does not exist."""
        wanted = [name for words in names for name in words.split(",") if name]
        unknown = [name for name in wanted if name not in self.columns]
        if unknown:
            known = ", ".join(sorted(self.columns))
            text = (
                f"(argument validation): Info key(s) {','.join(unknown)} are not supported. They must be among {known}"
            )
            raise Failure(EX_USAGE, text)
        return wanted or list(self.default)

    def paths(self, columns: Sequence[str]) -> list[str]:
        """Where the API keeps these columns."""
        return [self.renamed.get(name, name) for name in columns]

    def rows(self, columns: Sequence[str], items: Sequence[dict[str, Any]]) -> list[list[Any]]:
        """The cells of these columns."""
        cells = [(self.constant.get(name), self.renamed.get(name, name).split(".")) for name in columns]
        return [[look_up(item, path) if same is None else same for same, path in cells] for item in items]


def look_up(item: dict[str, Any], path: Sequence[str]) -> Any:
    value: Any = item
    for part in path:
        value = value.get(part) if isinstance(value, dict) else None
    return value


def words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


QUEUES = Listing(
    "queues",
    words(
        "name durable auto_delete arguments policy operator_policy effective_policy_definition pid owner_pid exclusive "
        "exclusive_consumer_pid exclusive_consumer_tag messages_ready messages_unacknowledged messages "
        "messages_ready_ram messages_unacknowledged_ram messages_ram messages_persistent message_bytes "
        "message_bytes_ready message_bytes_unacknowledged message_bytes_ram message_bytes_persistent "
        "head_message_timestamp disk_reads disk_writes consumers consumer_utilisation consumer_capacity memory state "
        "type leader members online"
    ),
    ("name", "messages"),
    {"owner_pid": "owner_pid_details.name"},
)
EXCHANGES = Listing(
    "exchanges", words("name type durable auto_delete internal arguments policy messages_delayed"), ("name", "type")
)
BINDINGS = Listing(
    "bindings",
    words("source_name source_kind destination_name destination_kind routing_key arguments"),
    words("source_name source_kind destination_name destination_kind routing_key arguments"),
    {"source_name": "source", "destination_name": "destination", "destination_kind": "destination_type"},
    {"source_kind": "exchange"},
)
CONNECTIONS = Listing(
    "connections",
    words(
        "pid name port host peer_port peer_host ssl ssl_protocol ssl_key_exchange ssl_cipher ssl_hash "
        "peer_cert_subject peer_cert_issuer peer_cert_validity state channels protocol auth_mechanism user vhost "
        "timeout frame_max channel_max client_properties recv_oct recv_cnt send_oct send_cnt send_pend connected_at"
    ),
    words("user peer_host peer_port state"),
    # Where rabbitmqctl prints an Erlang process, a name does what that is for: close_connection takes it.
    {"pid": "name"},
)
CHANNELS = Listing(
    "channels",
    words(
        "pid connection name number user vhost transactional confirm consumer_count messages_unacknowledged "
        "messages_uncommitted acks_uncommitted messages_unconfirmed prefetch_count global_prefetch_count"
    ),
    words("pid user consumer_count messages_unacknowledged"),
    {"pid": "name", "connection": "connection_details.name"},
)
CONSUMERS = Listing(
    "consumers",
    words("queue_name channel_pid consumer_tag ack_required prefetch_count active activity_status arguments"),
    words("queue_name channel_pid consumer_tag ack_required prefetch_count active arguments"),
    {"queue_name": "queue.name", "channel_pid": "channel_details.name"},
)
VHOSTS = Listing(
    "vhosts", words("name description tags default_queue_type protected_from_deletion tracing cluster_state"), ("name",)
)
USERS = Listing("users", ("user", "tags"), ("user", "tags"), {"user": "name"})
VHOST_PERMISSIONS = words("user configure write read")
USER_PERMISSIONS = words("vhost configure write read")
VHOST_TOPIC_PERMISSIONS = words("user exchange write read")
USER_TOPIC_PERMISSIONS = words("vhost exchange write read")


# ------------------------------------------------------------------------------------------------ commands

columns_argument = click.argument("columns", nargs=-1)


def show(session: Session, listing: Listing, names: Sequence[str], banner: Sequence[str], vhost: str | None) -> None:
    """Print a list: that of this virtual host, or of all."""
    columns = listing.chosen(names)
    session.output.inform(*banner)
    path = [listing.path] if vhost is None else [listing.path, vhost]
    missing = None if vhost is None else no_vhost(vhost)
    items = session.api.get(*path, missing=missing, columns=",".join(listing.paths(columns)))
    session.output.rows(columns, listing.rows(columns, items))


@click.command(cls=ControlCommand)
@columns_argument
@pass_session
def list_queues(session: Session, columns: tuple[str, ...]) -> None:
    """The queues of a virtual host: name and messages, or these columns."""
    banner = f"Timeout: {session.timeout} seconds ...", f"Listing queues for vhost {session.vhost} ..."
    show(session, QUEUES, columns, banner, session.vhost)


@click.command(cls=ControlCommand)
@columns_argument
@pass_session
def list_exchanges(session: Session, columns: tuple[str, ...]) -> None:
    """The exchanges of a virtual host: name and type, or these columns."""
    show(session, EXCHANGES, columns, [f"Listing exchanges for vhost {session.vhost} ..."], session.vhost)


@click.command(cls=ControlCommand)
@columns_argument
@pass_session
def list_bindings(session: Session, columns: tuple[str, ...]) -> None:
    """The bindings of a virtual host."""
    show(session, BINDINGS, columns, [f"Listing bindings for vhost {session.vhost}..."], session.vhost)


@click.command(cls=ControlCommand)
@columns_argument
@pass_session
def list_consumers(session: Session, columns: tuple[str, ...]) -> None:
    """The consumers in a virtual host."""
    show(session, CONSUMERS, columns, [f"Listing consumers in vhost {session.vhost} ..."], session.vhost)


@click.command(cls=ControlCommand)
@columns_argument
@pass_session
def list_connections(session: Session, columns: tuple[str, ...]) -> None:
    """All connections: user, peer and state, or these columns."""
    show(session, CONNECTIONS, columns, ["Listing connections ..."], None)


@click.command(cls=ControlCommand)
@columns_argument
@pass_session
def list_channels(session: Session, columns: tuple[str, ...]) -> None:
    """All channels."""
    show(session, CHANNELS, columns, ["Listing channels ..."], None)


@click.command(cls=ControlCommand)
@columns_argument
@pass_session
def list_vhosts(session: Session, columns: tuple[str, ...]) -> None:
    """The virtual hosts."""
    show(session, VHOSTS, columns, ["Listing vhosts ..."], None)


@click.command(cls=ControlCommand)
@pass_session
def list_users(session: Session) -> None:
    """The users and their tags."""
    show(session, USERS, (), ["Listing users ..."], None)


@click.command(cls=ControlCommand)
@pass_session
def list_permissions(session: Session) -> None:
    """What users may do in a virtual host."""
    session.output.inform(f'Listing permissions for vhost "{session.vhost}" ...')
    items = session.api.get("vhosts", session.vhost, "permissions", missing=no_vhost(session.vhost))
    session.output.rows(VHOST_PERMISSIONS, [[item[name] for name in VHOST_PERMISSIONS] for item in items])


@click.command(cls=ControlCommand)
@click.argument("user")
@pass_session
def list_user_permissions(session: Session, user: str) -> None:
    """What a user may do, in each virtual host that it may enter."""
    session.output.inform(f'Listing permissions for user "{user}" ...')
    items = session.api.get("users", user, "permissions", missing=no_user(user))
    session.output.rows(USER_PERMISSIONS, [[item[name] for name in USER_PERMISSIONS] for item in items])


@click.command(cls=ControlCommand)
@pass_session
def list_topic_permissions(session: Session) -> None:
    """Which topics users may use in a virtual host."""
    session.output.inform(f'Listing topic permissions for vhost "{session.vhost}" ...')
    items = session.api.get("vhosts", session.vhost, "topic-permissions", missing=no_vhost(session.vhost))
    session.output.rows(VHOST_TOPIC_PERMISSIONS, [[item[name] for name in VHOST_TOPIC_PERMISSIONS] for item in items])


@click.command(cls=ControlCommand)
@click.argument("user")
@pass_session
def list_user_topic_permissions(session: Session, user: str) -> None:
    """Which topics a user may use, in each virtual host."""
    session.output.inform(f'Listing topic permissions for user "{user}" ...')
    items = session.api.get("users", user, "topic-permissions", missing=no_user(user))
    session.output.rows(USER_TOPIC_PERMISSIONS, [[item[name] for name in USER_TOPIC_PERMISSIONS] for item in items])


COMMANDS = (
    list_bindings,
    list_channels,
    list_connections,
    list_consumers,
    list_exchanges,
    list_permissions,
    list_queues,
    list_topic_permissions,
    list_user_permissions,
    list_user_topic_permissions,
    list_users,
    list_vhosts,
)
