"""The commands that change something."""

from __future__ import annotations

import json

from pamqp import commands

from amqpd.auth.passwords import verify
from tests.support.control import Controlled, Ctl


def knows(broker: Controlled, name: str, password: str) -> bool:
    """Could the user log in with it?"""
    row = broker.users.get_user(name)
    return verify(password.encode(), row.password_hash, row.hashing_algorithm)


# ------------------------------------------------------------------------------------------------------ users


def test_a_user_comes_changes_and_goes(broker: Controlled, ctl: Ctl) -> None:
    result = ctl("add_user bob secret")
    assert result.output.startswith('Adding user "bob" ...\nDone. Don\'t forget to grant the user permissions')
    assert knows(broker, "bob", "secret")
    assert ctl("set_user_tags bob monitoring management").output == (
        'Setting tags for user "bob" to [monitoring, management] ...\n'
    )
    assert broker.users.get_user("bob").tags == ("monitoring", "management")
    assert knows(broker, "bob", "secret")
    assert ctl("change_password bob other").output == 'Changing password for user "bob" ...\n'
    assert knows(broker, "bob", "other")
    assert broker.users.get_user("bob").tags == ("monitoring", "management")
    assert ctl("set_user_tags bob").exit_code == 0
    assert broker.users.get_user("bob").tags == ()
    assert ctl("delete_user bob").output == 'Deleting user "bob" ...\n'
    assert broker.users.find_user("bob") is None


def test_a_password_is_read_from_standard_input(broker: Controlled, ctl: Ctl) -> None:
    assert ctl("add_user", "bob", "-q", input="from stdin\n").output == ""
    assert knows(broker, "bob", "from stdin")
    result = ctl("change_password", "bob", input="")
    assert (result.exit_code, result.stderr) == (65, "Error: Password is not provided via argument or stdin\n")


def test_a_user_that_exists_is_not_added(broker: Controlled, ctl: Ctl) -> None:
    result = ctl("add_user guest x")
    assert (result.exit_code, result.stderr) == (70, 'Error: User "guest" already exists\n')
    assert knows(broker, "guest", "guest")


def test_a_user_that_does_not_exist(ctl: Ctl) -> None:
    for line in ("delete_user x", "change_password x y", "set_user_tags x y", "set_permissions x a b c"):
        result = ctl(line)
        assert (result.exit_code, result.stderr) == (67, 'Error: User "x" does not exist\n'), line


# ------------------------------------------------------------------------------------------------ permissions


def test_permissions_are_set_and_cleared(broker: Controlled, ctl: Ctl) -> None:
    ctl("add_vhost v")
    result = ctl("set_permissions", "-p", "v", "guest", "^a", ".*", "")
    assert (result.exit_code, result.output) == (0, 'Setting permissions for user "guest" in vhost "v" ...\n')
    row = broker.users.find_permission("guest", "v")
    assert row is not None and row[2:] == ("^a", ".*", "")
    assert ctl("clear_permissions -p v guest").exit_code == 0
    assert broker.users.find_permission("guest", "v") is None
    assert ctl("clear_permissions -p v guest").exit_code == 65
    assert ctl("clear_permissions -p none guest").stderr == "Error: Virtual host 'none' does not exist\n"


def test_a_pattern_may_begin_with_a_hyphen_after_two(broker: Controlled, ctl: Ctl) -> None:
    assert ctl("set_permissions", "guest", "--", "-x", ".*", ".*").exit_code == 0
    row = broker.users.find_permission("guest", "/")
    assert row is not None and row.configure == "-x"


def test_a_bad_pattern_is_refused(ctl: Ctl) -> None:
    result = ctl("set_permissions", "guest", "(", "", "")
    assert result.exit_code == 65
    assert result.stderr.startswith("Error: invalid regular expression '('")


# ---------------------------------------------------------------------------------------------- virtual hosts


def test_a_virtual_host_comes_and_goes(broker: Controlled, ctl: Ctl) -> None:
    assert ctl("add_vhost", "a/b", "--description", "Testing", "--tags", "x,y").output == 'Adding vhost "a/b" ...\n'
    row = broker.world.broker.vhosts["a/b"].row
    assert (row.description, row.tags) == ("Testing", ("x", "y"))
    assert ctl("add_vhost a/b").exit_code == 0
    assert ctl("delete_vhost a/b").exit_code == 0
    result = ctl("delete_vhost a/b")
    assert (result.exit_code, result.stderr) == (65, "Error: Virtual host 'a/b' does not exist\n")


# ----------------------------------------------------------------------------------------------------- queues


def test_a_queue_is_purged_and_deleted(broker: Controlled, ctl: Ctl) -> None:
    client = broker.connect()
    broker.do(lambda: client.declare("q"))
    broker.do(lambda: client.publish("", "q"))
    assert ctl("purge_queue q").output == "Purging queue 'q' in vhost '/' ...\n"
    assert broker.get("queues/%2F/q")["messages"] == 0
    for _ in range(3):
        broker.do(lambda: client.publish("", "q"))
    assert ctl("delete_queue q").output == (
        "Deleting queue 'q' on vhost '/' ...\nQueue was successfully deleted with 3 messages\n"
    )
    assert broker.get("queues") == []
    assert ctl("purge_queue q").exit_code == 65
    result = ctl("delete_queue q")
    assert (result.exit_code, result.stderr) == (64, "Error: Queue not found\n")


def test_conditions_of_a_deletion(broker: Controlled, ctl: Ctl) -> None:
    client = broker.connect()
    broker.do(lambda: client.declare("q"))
    broker.do(lambda: client.publish("", "q"))
    result = ctl("delete_queue q --if-empty --if-unused")
    assert result.stdout == "Deleting queue 'q' on vhost '/' if queue is empty and if queue is unused ...\n"
    assert "not empty" in result.stderr
    broker.do(lambda: client.consume("q"))
    assert "in use" in ctl("delete_queue -u q").stderr
    answer = json.loads(ctl("delete_queue q --formatter json").stdout)
    assert answer == {"status": "ok", "message": "Queue was successfully deleted with 0 messages"}


# ------------------------------------------------------------------------------------------------ connections


def test_a_connection_is_closed_for_a_reason(broker: Controlled, ctl: Ctl) -> None:
    client, other = broker.connect(), broker.connect()
    assert ctl("close_connection", client.session.name, "maintenance\nat n\u00f6\u00f6n").exit_code == 0
    broker.do(broker.world.run)
    (closed,) = broker.do(client.frames)
    assert isinstance(closed, commands.Connection.Close)
    assert closed.reply_text == "CONNECTION_FORCED - maintenance at n\u00f6\u00f6n"
    assert broker.do(other.frames) == []
    assert ctl("close_connection none reason").exit_code == 65


def test_all_connections_are_closed(broker: Controlled, ctl: Ctl) -> None:
    clients = [broker.connect(), broker.connect()]
    ctl("add_vhost other")
    assert ctl("close_all_connections -p other bye").output.endswith("Closed 0 connections\n")
    assert ctl("close_all_connections -p none bye").exit_code == 65
    assert ctl("close_all_connections bye").output == (
        "Closing all connections to vhost /, reason: bye...\nClosed 2 connections\n"
    )
    broker.do(broker.world.run)
    assert all(isinstance(broker.do(client.frames)[-1], commands.Connection.Close) for client in clients)
    broker.connect()
    assert ctl("close_all_connections --global bye -q").output == "Closed 1 connections\n"


def test_tracing(broker: Controlled, ctl: Ctl) -> None:
    assert ctl("trace_on").output == 'Starting tracing for vhost "/" ...\nTrace enabled for vhost /\n'
    assert broker.world.broker.vhosts["/"].row.tracing is True
    assert ctl("trace_off -q").output == ""
    assert broker.world.broker.vhosts["/"].row.tracing is False
    result = ctl("trace_on -p missing")
    assert (result.exit_code, result.stderr) == (65, "Error: Virtual host 'missing' does not exist\n")
