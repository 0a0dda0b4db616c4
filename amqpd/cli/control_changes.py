"""The commands that change something: users, permissions, virtual hosts, queues, connections."""

from __future__ import annotations

import sys
from typing import Any

import click

from amqpd.cli.control_client import EX_DATAERR, EX_SOFTWARE, EX_USAGE, Failure
from amqpd.cli.control_tool import ControlCommand, Session, no_user, no_vhost, pass_session

__all__ = ["COMMANDS"]


# --------------------------------------------------------------------------------------------------- users


def find_user(session: Session, name: str) -> dict[str, Any]:
    """The user as the API shows it. Raises Failure when there is none."""
    found: dict[str, Any] = session.api.get("users", name, missing=no_user(name))
    return found


def password_or_input(password: str | None) -> str:
    """The password as given, or the first line of standard input."""
    if password is not None:
        return password
    stream = sys.stdin
    if stream.isatty():
        return str(click.prompt("Password", hide_input=True, default="", show_default=False, err=True))
    line = stream.readline()
    if not line:
        raise Failure(EX_DATAERR, "Password is not provided via argument or stdin")
    return line.rstrip("\r\n")


@click.command(cls=ControlCommand)
@click.argument("name")
@click.argument("password", required=False)
@pass_session
def add_user(session: Session, name: str, password: str | None) -> None:
    """Create a user. Without PASSWORD it is read from standard input; a blank one allows no login by password."""
    password = password_or_input(password)
    session.output.inform(f'Adding user "{name}" ...')
    absent = Failure(EX_DATAERR, "absent")
    try:
        session.api.get("users", name, missing=absent)
    except Failure as failure:
        if failure is not absent:
            raise
    else:
        raise Failure(EX_SOFTWARE, f'User "{name}" already exists')
    session.api.put("users", name, body={"password": password, "tags": []})
    session.output.inform(
        "Done. Don't forget to grant the user permissions to some virtual hosts! "
        "See 'amqpctl set_permissions --help' to learn more."
    )


@click.command(cls=ControlCommand)
@click.argument("name")
@pass_session
def delete_user(session: Session, name: str) -> None:
    """Delete a user and its permissions; its connections are closed."""
    session.output.inform(f'Deleting user "{name}" ...')
    session.api.delete("users", name, missing=no_user(name))


@click.command(cls=ControlCommand)
@click.argument("name")
@click.argument("password", required=False)
@pass_session
def change_password(session: Session, name: str, password: str | None) -> None:
    """Give a user a new password. Without PASSWORD it is read from standard input."""
    password = password_or_input(password)
    session.output.inform(f'Changing password for user "{name}" ...')
    tags = find_user(session, name)["tags"]
    session.api.put("users", name, body={"password": password, "tags": tags})


@click.command(cls=ControlCommand)
@click.argument("name")
@click.argument("tags", nargs=-1)
@pass_session
def set_user_tags(session: Session, name: str, tags: tuple[str, ...]) -> None:
    """Give a user these tags instead of those it has: administrator, monitoring, policymaker, management."""
    session.output.inform(f'Setting tags for user "{name}" to [{", ".join(tags)}] ...')
    user = find_user(session, name)
    kept = {key: user[key] for key in ("password_hash", "hashing_algorithm")}
    session.api.put("users", name, body={**kept, "tags": list(tags)})


# --------------------------------------------------------------------------------------------- permissions


def check_vhost_and_user(session: Session, user: str) -> None:
    """Both exist, else Failure says which does not."""
    session.api.get("vhosts", session.vhost, missing=no_vhost(session.vhost), columns="name")
    find_user(session, user)


@click.command(cls=ControlCommand)
@click.argument("user")
@click.argument("configure")
@click.argument("write")
@click.argument("read")
@pass_session
def set_permissions(session: Session, user: str, configure: str, write: str, read: str) -> None:
    """What a user may do in a virtual host: three regular expressions over the names of queues and exchanges."""
    session.output.inform(f'Setting permissions for user "{user}" in vhost "{session.vhost}" ...')
    check_vhost_and_user(session, user)
    patterns = {"configure": configure, "write": write, "read": read}
    session.api.put("permissions", session.vhost, user, body=patterns)


@click.command(cls=ControlCommand)
@click.argument("user")
@pass_session
def clear_permissions(session: Session, user: str) -> None:
    """A user may no longer enter a virtual host."""
    session.output.inform(f'Clearing permissions for user "{user}" in vhost "{session.vhost}" ...')
    check_vhost_and_user(session, user)
    none = Failure(EX_DATAERR, f'User "{user}" has no permissions in vhost "{session.vhost}"')
    session.api.delete("permissions", session.vhost, user, missing=none)


@click.command(cls=ControlCommand)
@click.argument("user")
@click.argument("exchange")
@click.argument("write")
@click.argument("read")
@pass_session
def set_topic_permissions(session: Session, user: str, exchange: str, write: str, read: str) -> None:
    """Which routing keys of a topic exchange a user may publish to and bind: two regular expressions."""
    where = f'on "{exchange}" for user "{user}" in vhost "{session.vhost}"'
    session.output.inform(f"Setting topic permissions {where} ...")
    check_vhost_and_user(session, user)
    body = {"exchange": exchange, "write": write, "read": read}
    session.api.put("topic-permissions", session.vhost, user, body=body)


@click.command(cls=ControlCommand)
@click.argument("user")
@click.argument("exchange", required=False)
@pass_session
def clear_topic_permissions(session: Session, user: str, exchange: str | None) -> None:
    """A user may use all routing keys again, of one exchange or of all."""
    what = "topic permissions" if exchange is None else f'topic permissions on "{exchange}"'
    session.output.inform(f'Clearing {what} for user "{user}" in vhost "{session.vhost}" ...')
    check_vhost_and_user(session, user)
    path = ["topic-permissions", session.vhost, user] + ([exchange] if exchange is not None else [])
    none = Failure(EX_DATAERR, "there are none")
    try:
        session.api.delete(*path, missing=none)
    except Failure as failure:
        if failure is not none:
            raise


# ------------------------------------------------------------------------------------------- virtual hosts


@click.command(cls=ControlCommand)
@click.argument("name")
@click.option("-d", "--description", default="", help="What it is for.")
@click.option("--tags", default="", metavar="TAG,TAG", help="Its tags.")
@click.option("--default-queue-type", default="", help="The type of queues declared without one.")
@pass_session
def add_vhost(session: Session, name: str, description: str, tags: str, default_queue_type: str) -> None:
    """Create a virtual host; of one that exists, what is given here is changed."""
    session.output.inform(f'Adding vhost "{name}" ...')
    session.api.put("vhosts", name, body=given(description, tags, default_queue_type))


def given(description: str, tags: str, default_queue_type: str) -> dict[str, str]:
    """Those that are not empty, by their names in the API."""
    metadata = {"description": description, "tags": tags, "default_queue_type": default_queue_type}
    return {key: value for key, value in metadata.items() if value}


@click.command(cls=ControlCommand)
@click.argument("name")
@click.option("-d", "--description", default="", help="What it is for.")
@click.option("--tags", default="", metavar="TAG,TAG", help="Its tags.")
@click.option("--default-queue-type", default="", help="The type of queues declared without one.")
@pass_session
def update_vhost_metadata(session: Session, name: str, description: str, tags: str, default_queue_type: str) -> None:
    """Change what is known about a virtual host."""
    session.output.inform(f'Updating metadata of vhost "{name}" ...')
    session.api.get("vhosts", name, missing=no_vhost(name), columns="name")
    session.api.put("vhosts", name, body=given(description, tags, default_queue_type))


def trace(session: Session, on: bool) -> None:
    verb = "Starting" if on else "Stopping"
    session.output.inform(f'{verb} tracing for vhost "{session.vhost}" ...')
    session.api.get("vhosts", session.vhost, missing=no_vhost(session.vhost), columns="name")
    session.api.put("vhosts", session.vhost, body={"tracing": on})
    session.output.inform(f"Trace {'enabled' if on else 'disabled'} for vhost {session.vhost}")


@click.command(cls=ControlCommand)
@pass_session
def trace_on(session: Session) -> None:
    """Have all messages of a virtual host published to amq.rabbitmq.trace too, until the node stops."""
    trace(session, True)


@click.command(cls=ControlCommand)
@pass_session
def trace_off(session: Session) -> None:
    """No longer do that."""
    trace(session, False)


@click.command(cls=ControlCommand)
@click.argument("name")
@pass_session
def enable_vhost_deletion_protection(session: Session, name: str) -> None:
    """Have a virtual host not be deleted until its protection is taken away."""
    session.output.inform(f'Protecting vhost "{name}" from deletion ...')
    session.api.post("vhosts", name, "deletion", "protection", missing=no_vhost(name))


@click.command(cls=ControlCommand)
@click.argument("name")
@pass_session
def disable_vhost_deletion_protection(session: Session, name: str) -> None:
    """Let a virtual host be deleted again."""
    session.output.inform(f'Taking the protection from deletion off vhost "{name}" ...')
    session.api.delete("vhosts", name, "deletion", "protection", missing=no_vhost(name))


@click.command(cls=ControlCommand)
@click.argument("name")
@pass_session
def delete_vhost(session: Session, name: str) -> None:
    """Delete a virtual host and all that is in it; its connections are closed."""
    session.output.inform(f'Deleting vhost "{name}" ...')
    session.api.delete("vhosts", name, missing=no_vhost(name))


# -------------------------------------------------------------------------------------------------- queues


@click.command(cls=ControlCommand)
@click.argument("name")
@pass_session
def purge_queue(session: Session, name: str) -> None:
    """Drop all messages that are ready in a queue."""
    session.output.inform(f"Purging queue '{name}' in vhost '{session.vhost}' ...")
    missing = Failure(EX_DATAERR, f"there is no queue '{name}' in vhost '{session.vhost}'")
    session.api.delete("queues", session.vhost, name, "contents", missing=missing)


@click.command(cls=ControlCommand)
@click.argument("name")
@click.option("-e", "--if-empty", "--if_empty", is_flag=True, help="Only if no message is ready in it.")
@click.option("-u", "--if-unused", "--if_unused", is_flag=True, help="Only if nobody consumes from it.")
@pass_session
def delete_queue(session: Session, name: str, if_empty: bool, if_unused: bool) -> None:
    """Delete a queue with its messages and bindings."""
    conditions = {"if-empty": if_empty, "if-unused": if_unused}
    asked = {condition: "true" for condition, wanted in conditions.items() if wanted}
    said = "and ".join(f"if queue is {condition.removeprefix('if-')} " for condition in asked)
    session.output.inform(f"Deleting queue '{name}' on vhost '{session.vhost}' {said}...")
    # rabbitmqctl ends with 64 where one would expect 65, and scripts look.
    missing = Failure(EX_USAGE, "Queue not found")
    answer = session.api.delete("queues", session.vhost, name, missing=missing, **asked)
    session.output.result(f"Queue was successfully deleted with {answer.headers['X-Messages']} messages")


# --------------------------------------------------------------------------------------------- connections


@click.command(cls=ControlCommand)
@click.argument("name")
@click.argument("reason")
@pass_session
def close_connection(session: Session, name: str, reason: str) -> None:
    """Close a connection, telling the client why. Its name is the column `name` of list_connections."""
    session.output.inform(f"Closing connection {name}, reason: {reason}...")
    missing = Failure(EX_DATAERR, f"there is no connection '{name}'")
    session.api.delete("connections", name, missing=missing, reason=reason)


@click.command(cls=ControlCommand)
@click.argument("reason")
@click.option("--global", "everywhere", is_flag=True, help="Those to all virtual hosts.")
@pass_session
def close_all_connections(session: Session, reason: str, everywhere: bool) -> None:
    """Close all connections to a virtual host, telling the clients why."""
    where = "node" if everywhere else f"vhost {session.vhost}"
    session.output.inform(f"Closing all connections to {where}, reason: {reason}...")
    if not everywhere:
        session.api.get("vhosts", session.vhost, missing=no_vhost(session.vhost), columns="name")
    closed = 0
    gone = Failure(EX_DATAERR, "gone")
    for connection in session.api.get("connections", columns="name,vhost"):
        if everywhere or connection["vhost"] == session.vhost:
            try:
                session.api.delete("connections", connection["name"], missing=gone, reason=reason)
                closed += 1
            except Failure as failure:
                if failure is not gone:
                    raise
    session.output.result(f"Closed {closed} connections")


COMMANDS = (
    add_user,
    add_vhost,
    change_password,
    clear_permissions,
    clear_topic_permissions,
    close_all_connections,
    close_connection,
    delete_queue,
    delete_user,
    delete_vhost,
    disable_vhost_deletion_protection,
    enable_vhost_deletion_protection,
    purge_queue,
    set_permissions,
    set_topic_permissions,
    set_user_tags,
    trace_off,
    trace_on,
    update_vhost_metadata,
)
