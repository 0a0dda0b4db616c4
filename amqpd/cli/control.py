"""`amqpctl`: ask a running broker, and tell it what to do, in the words of rabbitmqctl."""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from typing import Any

import click

from amqpd import __version__
from amqpd.cli import (
    control_changes,
    control_definitions,
    control_delayed,
    control_lists,
    control_parameters,
    control_resources,
    control_routing,
)
from amqpd.cli.control_client import EX_TEMPFAIL, Failure
from amqpd.cli.control_tool import ControlGroup, Session, pass_session

__all__ = ["main"]

STOP_POLL = 0.05


@click.group(cls=ControlGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="amqpctl")
def main() -> None:
    """Ask a running amqpd broker, and tell it what to do.

    It is found by its data directory, and whoever may open the control socket in there is administrator.
    """


@main.command()
@pass_session
def ping(session: Session) -> None:
    """Does the broker answer?"""
    session.output.inform(f"Will ping {session.node_name}. Timeout: {session.timeout * 1000:.0f} ms.")
    session.api.get("whoami")
    session.output.result("Ping succeeded")


@main.command()
@pass_session
def status(session: Session) -> None:
    """What the broker is, where it listens, how much it holds."""
    overview, nodes, vhosts = (session.api.get(path) for path in ("overview", "nodes", "vhosts"))
    node, listeners = nodes[0], overview["listeners"]
    sections = facts(overview, node, len(vhosts))
    if session.output.json:
        click.echo(json.dumps({"node": node["name"], **sections, "Listeners": listeners}))
        return
    session.output.inform(f"Status of node {node['name']} ...")
    for title, known in sections.items():
        lines = [f"{label}: {value}" for label, value in known.items()]
        click.echo("\n".join([title, "", *(lines or ["(none)"]), ""]))
    places = (f"Interface: {at['ip_address']}, port: {at['port']}, protocol: {at['protocol']}" for at in listeners)
    click.echo("\n".join(["Listeners", "", *places]))


def facts(overview: dict[str, Any], node: dict[str, Any], vhosts: int) -> dict[str, dict[str, Any]]:
    """What `status` says, by section."""
    measured = {
        "Memory used (bytes)": "mem_used",
        "Memory high watermark (bytes)": "mem_limit",
        "File descriptors used": "fd_used",
        "File descriptor limit": "fd_total",
        "Free disk space (bytes)": "disk_free",
        "Low free disk space watermark (bytes)": "disk_free_limit",
    }
    return {
        "Runtime": {
            "OS PID": int(node["os_pid"]),
            "Uptime (seconds)": node["uptime"] // 1000,
            "Cluster name": overview["cluster_name"],
            "amqpd version": overview["amqpd_version"],
            "RabbitMQ version": overview["rabbitmq_version"],
            "Data directory": node["db_dir"],
        },
        "Alarms": node["alarms"],
        "Resources": {label: node[key] for label, key in measured.items() if key in node},
        "Totals": {
            "Connection count": overview["object_totals"]["connections"],
            "Queue count": overview["object_totals"]["queues"],
            "Message count": overview["queue_totals"]["messages"],
            "Virtual host count": vhosts,
        },
    }


@main.command()
@pass_session
def stop(session: Session) -> None:
    """Stop the broker, and wait until its process has ended."""
    session.output.inform(f"Stopping and halting node {session.node_name} ...")
    pid = int(session.api.put("node", "stop").value["os_pid"])
    deadline = time.monotonic() + session.timeout
    while alive(pid):
        if time.monotonic() >= deadline:
            raise Failure(EX_TEMPFAIL, f"the broker (process {pid}) has not ended after {session.timeout:g} seconds")
        time.sleep(STOP_POLL)


def alive(pid: int) -> bool:
    """Is there such a process?"""
    with suppress(PermissionError):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
    # One that has ended stays until its parent has asked how; in a container its parent may never do.
    with suppress(OSError), open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stat:
        return not stat.read().rpartition(")")[2].lstrip().startswith("Z")
    return True


for module in (
    control_lists,
    control_changes,
    control_delayed,
    control_parameters,
    control_definitions,
    control_resources,
    control_routing,
):
    for command in module.COMMANDS:
        main.add_command(command)

if __name__ == "__main__":
    main()
