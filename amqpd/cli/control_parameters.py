"""The commands about policies, runtime parameters and limits.

What the broker refuses ends with 69 here and not with 65, as it does in rabbitmqctl.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import click

from amqpd.cli.control_client import EX_UNAVAILABLE, Failure
from amqpd.cli.control_tool import ControlCommand, Session, no_user, no_vhost, pass_session

__all__ = ["COMMANDS", "read_json"]

POLICY_COLUMNS = ("vhost", "name", "pattern", "apply-to", "definition", "priority")
PARAMETER_COLUMNS = ("component", "name", "value")

NO_PARAMETER = Failure(EX_UNAVAILABLE, "Parameter does not exist")


def compact(value: object) -> str:
    """JSON as rabbitmqctl prints it."""
    return json.dumps(value, separators=(",", ":"))


def read_json(text: str) -> Any:
    """The value in a JSON argument. Raises Failure."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Failure(EX_UNAVAILABLE, f"JSON decoding error. Reason: {error}") from None


def check_vhost(session: Session) -> None:
    """Raises Failure for a virtual host that does not exist."""
    session.api.get("vhosts", session.vhost, missing=no_vhost(session.vhost), columns="name")


# --------------------------------------------------------------------------------------------------- policies

apply_to_option = click.option(
    "--apply-to",
    default="all",
    metavar="WHAT",
    help="queues, classic_queues, quorum_queues, streams, exchanges or all, which it is by default.",
)
priority_option = click.option("--priority", type=int, default=0, help="The highest counts; 0 by default.")


def put_policy(
    session: Session, path: str, what: str, name: str, pattern: str, definition: str, priority: int, apply_to: str
) -> None:
    session.output.inform(
        f'Setting {what} "{name}" for pattern "{pattern}" to "{definition}" with priority "{priority}" for vhost '
        f'"{session.vhost}" ...'
    )
    body = {"pattern": pattern, "definition": read_json(definition), "priority": priority, "apply-to": apply_to}
    session.api.put(path, session.vhost, name, body=body, missing=no_vhost(session.vhost), refusal=EX_UNAVAILABLE)


def drop_policy(session: Session, path: str, what: str, name: str) -> None:
    session.output.inform(f'Clearing {what} "{name}" on vhost "{session.vhost}" ...')
    check_vhost(session)
    session.api.delete(path, session.vhost, name, missing=NO_PARAMETER)


def print_policies(session: Session, path: str, what: str) -> None:
    session.output.inform(f'Listing {what} for vhost "{session.vhost}" ...')
    items = session.api.get(path, session.vhost, missing=no_vhost(session.vhost), sort="priority")
    rows = [[compact(item[key]) if key == "definition" else item[key] for key in POLICY_COLUMNS] for item in items]
    session.output.rows(POLICY_COLUMNS, rows)


@click.command(cls=ControlCommand)
@click.argument("name")
@click.argument("pattern")
@click.argument("definition")
@priority_option
@apply_to_option
@pass_session
def set_policy(session: Session, name: str, pattern: str, definition: str, priority: int, apply_to: str) -> None:
    """Give queues and exchanges whose names match PATTERN the arguments in DEFINITION, a JSON object."""
    put_policy(session, "policies", "policy", name, pattern, definition, priority, apply_to)


@click.command(cls=ControlCommand)
@click.argument("name")
@pass_session
def clear_policy(session: Session, name: str) -> None:
    """Take a policy away."""
    drop_policy(session, "policies", "policy", name)


@click.command(cls=ControlCommand)
@pass_session
def list_policies(session: Session) -> None:
    """The policies of a virtual host."""
    print_policies(session, "policies", "policies")


@click.command(cls=ControlCommand)
@click.argument("name")
@click.argument("pattern")
@click.argument("definition")
@priority_option
@apply_to_option
@pass_session
def set_operator_policy(
    session: Session, name: str, pattern: str, definition: str, priority: int, apply_to: str
) -> None:
    """Limit queues whose names match PATTERN, whatever policies and arguments say, to what DEFINITION allows."""
    what = "operator policy override"
    put_policy(session, "operator-policies", what, name, pattern, definition, priority, apply_to)


@click.command(cls=ControlCommand)
@click.argument("name")
@pass_session
def clear_operator_policy(session: Session, name: str) -> None:
    """Take an operator policy away."""
    drop_policy(session, "operator-policies", "operator policy", name)


@click.command(cls=ControlCommand)
@pass_session
def list_operator_policies(session: Session) -> None:
    """The operator policies of a virtual host."""
    print_policies(session, "operator-policies", "operator policy overrides")


# ------------------------------------------------------------------------------------------------- parameters


def print_parameters(session: Session, columns: Sequence[str], items: Sequence[dict[str, Any]]) -> None:
    rows = [[compact(item[key]) if key == "value" else item[key] for key in columns] for item in items]
    session.output.rows(columns, rows)


@click.command(cls=ControlCommand)
@click.argument("component")
@click.argument("name")
@click.argument("value")
@pass_session
def set_parameter(session: Session, component: str, name: str, value: str) -> None:
    """Give a runtime parameter of a component this VALUE, in JSON."""
    session.output.inform(
        f'Setting runtime parameter "{name}" for component "{component}" to "{value}" in vhost "{session.vhost}" ...'
    )
    body = {"value": read_json(value)}
    missing = no_vhost(session.vhost)
    session.api.put("parameters", component, session.vhost, name, body=body, missing=missing, refusal=EX_UNAVAILABLE)


@click.command(cls=ControlCommand)
@click.argument("component")
@click.argument("name")
@pass_session
def clear_parameter(session: Session, component: str, name: str) -> None:
    """Take a runtime parameter away."""
    session.output.inform(
        f'Clearing runtime parameter "{name}" for component "{component}" on vhost "{session.vhost}" ...'
    )
    check_vhost(session)
    session.api.delete("parameters", component, session.vhost, name, missing=NO_PARAMETER)


@click.command(cls=ControlCommand)
@pass_session
def list_parameters(session: Session) -> None:
    """The runtime parameters of a virtual host, but for its policies."""
    session.output.inform(f'Listing runtime parameters for vhost "{session.vhost}" ...')
    check_vhost(session)
    items = [item for item in session.api.get("parameters") if item["vhost"] == session.vhost]
    print_parameters(session, PARAMETER_COLUMNS, items)


@click.command(cls=ControlCommand)
@click.argument("name")
@click.argument("value")
@pass_session
def set_global_parameter(session: Session, name: str, value: str) -> None:
    """Give a parameter that belongs to no virtual host this VALUE, in JSON."""
    session.output.inform(f'Setting global runtime parameter "{name}" to "{value}" ...')
    session.api.put("global-parameters", name, body={"value": read_json(value)}, refusal=EX_UNAVAILABLE)


@click.command(cls=ControlCommand)
@click.argument("name")
@pass_session
def clear_global_parameter(session: Session, name: str) -> None:
    """Take a global parameter away."""
    session.output.inform(f'Clearing global runtime parameter "{name}" ...')
    session.api.delete("global-parameters", name, missing=NO_PARAMETER)


@click.command(cls=ControlCommand)
@pass_session
def list_global_parameters(session: Session) -> None:
    """The parameters that belong to no virtual host."""
    session.output.inform("Listing global runtime parameters ...")
    print_parameters(session, PARAMETER_COLUMNS[1:], session.api.get("global-parameters"))


# ----------------------------------------------------------------------------------------------------- limits

everywhere_option = click.option("--global", "everywhere", is_flag=True, help="All of them.")


def print_limits(session: Session, who: str, items: Sequence[dict[str, Any]], everywhere: bool) -> None:
    """The limits of one, as JSON, or a table of all that have some."""
    if everywhere:
        session.output.rows((who, "limits"), [[item[who], compact(item["value"])] for item in items])
    else:
        session.output.result(compact(items[0]["value"] if items else {}))


@click.command(cls=ControlCommand)
@click.argument("definition")
@pass_session
def set_vhost_limits(session: Session, definition: str) -> None:
    """Limit what is in a virtual host: a JSON object with max-connections, max-queues."""
    session.output.inform(f'Setting vhost limits to "{definition}" for vhost "{session.vhost}" ...')
    limits, missing = read_json(definition), no_vhost(session.vhost)
    session.api.put("vhost-limits", session.vhost, body=limits, missing=missing, refusal=EX_UNAVAILABLE)


@click.command(cls=ControlCommand)
@pass_session
def clear_vhost_limits(session: Session) -> None:
    """Take all limits of a virtual host away."""
    session.output.inform(f'Clearing vhost "{session.vhost}" limits ...')
    check_vhost(session)
    session.api.delete("vhost-limits", session.vhost, missing=NO_PARAMETER)


@click.command(cls=ControlCommand)
@everywhere_option
@pass_session
def list_vhost_limits(session: Session, everywhere: bool) -> None:
    """The limits of a virtual host, or of all."""
    where = "all vhosts" if everywhere else f'vhost "{session.vhost}"'
    session.output.inform(f"Listing limits for {where} ...")
    path = ["vhost-limits"] if everywhere else ["vhost-limits", session.vhost]
    print_limits(session, "vhost", session.api.get(*path, missing=no_vhost(session.vhost)), everywhere)


@click.command(cls=ControlCommand)
@click.argument("user")
@click.argument("definition")
@pass_session
def set_user_limits(session: Session, user: str, definition: str) -> None:
    """Limit what a user has open: a JSON object with max-connections, max-channels."""
    session.output.inform(f'Setting user limits to "{definition}" for user "{user}" ...')
    limits = read_json(definition)
    session.api.put("user-limits", user, body=limits, missing=no_user(user), refusal=EX_UNAVAILABLE)


@click.command(cls=ControlCommand)
@click.argument("user")
@click.argument("limit")
@pass_session
def clear_user_limits(session: Session, user: str, limit: str) -> None:
    """Take a limit of a user away, or all."""
    session.output.inform(f'Clearing "{limit}" limit for user "{user}" ...')
    path = ["user-limits", user] + ([limit] if limit != "all" else [])
    session.api.delete(*path, missing=no_user(user))


@click.command(cls=ControlCommand)
@click.option("--user", default="guest", metavar="USER", help="Whose; guest by default.")
@everywhere_option
@pass_session
def list_user_limits(session: Session, user: str, everywhere: bool) -> None:
    """The limits of a user, or of all."""
    session.output.inform(f"Listing limits for {'all users' if everywhere else f'user {json.dumps(user)}'} ...")
    path = ["user-limits"] if everywhere else ["user-limits", user]
    print_limits(session, "user", session.api.get(*path, missing=no_user(user)), everywhere)


COMMANDS = (
    clear_global_parameter,
    clear_operator_policy,
    clear_parameter,
    clear_policy,
    clear_user_limits,
    clear_vhost_limits,
    list_global_parameters,
    list_operator_policies,
    list_parameters,
    list_policies,
    list_user_limits,
    list_vhost_limits,
    set_global_parameter,
    set_operator_policy,
    set_parameter,
    set_policy,
    set_user_limits,
    set_vhost_limits,
)
