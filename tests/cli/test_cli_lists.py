"""What the list_* commands print."""

from __future__ import annotations

import json

import pytest
from pamqp import commands

from tests.support.control import Controlled, Ctl


@pytest.fixture
def orders(broker: Controlled) -> Controlled:
    """Two queues, two messages."""
    broker.put("queues/%2F/orders", durable=True, arguments={"x-max-length": 10, "x-overflow": "drop-head"})
    broker.put("queues/%2F/empty")
    client = broker.connect()
    broker.do(lambda: client.publish("", "orders"))
    broker.do(lambda: client.publish("", "orders"))
    return broker


def test_queues_as_rabbitmqctl_prints_them(orders: Controlled, ctl: Ctl) -> None:
    result = ctl("list_queues")
    assert result.output == (
        "Timeout: 60.0 seconds ...\nListing queues for vhost / ...\nname\tmessages\nempty\t0\norders\t2\n"
    )
    assert result.exit_code == 0


@pytest.mark.parametrize(
    ("options", "lines"),
    [
        ("-q", ["name\tmessages", "empty\t0", "orders\t2"]),
        ("-s", ["empty\t0", "orders\t2"]),
        ("-q --no-table-headers", ["empty\t0", "orders\t2"]),
        (
            "-t 10 --no-table-headers",
            ["Timeout: 10.0 seconds ...", "Listing queues for vhost / ...", "empty\t0", "orders\t2"],
        ),
    ],
)
def test_how_much_is_said(orders: Controlled, ctl: Ctl, options: str, lines: list[str]) -> None:
    assert ctl(f"list_queues {options}").output.splitlines() == lines
    assert ctl(f"{options} list_queues").output.splitlines() == lines


def test_columns_in_the_order_asked_for(orders: Controlled, ctl: Ctl) -> None:
    asked = "messages_ready name durable arguments policy memory state"
    lines = ["0\tempty\tfalse\t[]\t\t\trunning"]
    lines.append('2\torders\ttrue\t[{"x-max-length",10},{"x-overflow","drop-head"}]\t\t\trunning')
    assert ctl(f"list_queues -s {asked}").output.splitlines() == lines
    assert ctl(f"list_queues -s {asked.replace(' ', ',')}").output.splitlines() == lines


def test_json(orders: Controlled, ctl: Ctl) -> None:
    result = ctl("list_queues --formatter json name messages arguments policy")
    assert json.loads(result.stdout) == [
        {"name": "empty", "messages": 0, "arguments": {}, "policy": ""},
        {
            "name": "orders",
            "messages": 2,
            "arguments": {"x-max-length": 10, "x-overflow": "drop-head"},
            "policy": "",
        },
    ]
    assert json.loads(ctl("list_queues --formatter json -p /").stdout)[1]["messages"] == 2


def test_the_virtual_host_is_chosen(orders: Controlled, ctl: Ctl) -> None:
    orders.put("vhosts/other")
    assert ctl("list_queues -s -p other").output == ""
    assert ctl("-p other list_queues").output.splitlines()[-1] == "Listing queues for vhost other ..."
    result = ctl("list_queues -p none")
    assert (result.exit_code, result.stderr) == (65, "Error: Virtual host 'none' does not exist\n")


def test_an_unknown_column_is_refused(ctl: Ctl) -> None:
    result = ctl("list_queues name nonsense")
    assert result.exit_code == 64
    assert "Info key(s) nonsense are not supported" in result.stderr
    assert result.stdout == ""


def test_a_name_cannot_make_rows_of_its_own(broker: Controlled, ctl: Ctl) -> None:
    broker.put("queues/%2F/a%0Ab%09c%1B%5B2J")
    client = broker.connect()
    broker.do(lambda: client.declare("tab\tqueue\x1b[2J\x9bé"))
    assert "tab\\011queue\\033[2J\\233é\t0" in ctl("list_queues -s").output


def test_exchanges(ctl: Ctl) -> None:
    lines = ctl("list_exchanges").output.splitlines()
    assert lines[:4] == ["Listing exchanges for vhost / ...", "name\ttype", "\tdirect", "amq.direct\tdirect"]
    assert "amq.rabbitmq.trace\ttrue" in ctl("list_exchanges -s name internal").output.splitlines()


def test_bindings(broker: Controlled, ctl: Ctl) -> None:
    broker.put("queues/%2F/q")
    broker.post("bindings/%2F/e/amq.headers/q/q", arguments={"x-match": "all", "n": 1, "deep": {"a": [1, "b", None]}})
    assert ctl("list_bindings").output.splitlines() == [
        "Listing bindings for vhost /...",
        "source_name\tsource_kind\tdestination_name\tdestination_kind\trouting_key\targuments",
        "\texchange\tq\tqueue\tq\t[]",
        'amq.headers\texchange\tq\tqueue\t\t[{"x-match","all"},{"n",1},{"deep",[{"a",[1,"b",undefined]}]}]',
    ]


def test_connections_channels_and_consumers(broker: Controlled, ctl: Ctl) -> None:
    client = broker.connect()
    broker.do(lambda: client.declare("q"))
    broker.do(lambda: client.method(1, commands.Basic.Qos, prefetch_count=5))
    broker.do(lambda: client.consume("q", "tag"))
    name = client.session.name
    assert ctl("list_connections").output.splitlines() == [
        "Listing connections ...",
        "user\tpeer_host\tpeer_port\tstate",
        "guest\t127.0.0.1\t1\trunning",
    ]
    assert ctl("list_connections -s pid name channels ssl peer_cert_subject").output == f"{name}\t{name}\t1\tfalse\t\n"
    assert ctl("list_channels").output.splitlines() == [
        "Listing channels ...",
        "pid\tuser\tconsumer_count\tmessages_unacknowledged",
        f"{name} (1)\tguest\t1\t0",
    ]
    assert ctl("list_channels -s connection number prefetch_count").output == f"{name}\t1\t5\n"
    assert ctl("list_consumers").output.splitlines() == [
        "Listing consumers in vhost / ...",
        "queue_name\tchannel_pid\tconsumer_tag\tack_required\tprefetch_count\tactive\targuments",
        f"q\t{name} (1)\ttag\ttrue\t5\ttrue\t[]",
    ]


def test_virtual_hosts_and_users(ctl: Ctl) -> None:
    assert ctl("list_vhosts").output == "Listing vhosts ...\nname\n/\n"
    assert ctl("list_vhosts -s name default_queue_type tracing").output == "/\tclassic\tfalse\n"
    assert ctl("list_users").output == "Listing users ...\nuser\ttags\nguest\t[administrator]\n"
    assert json.loads(ctl("list_users --formatter json").stdout) == [{"user": "guest", "tags": ["administrator"]}]


def test_permissions(ctl: Ctl) -> None:
    assert ctl("list_permissions").output == (
        'Listing permissions for vhost "/" ...\nuser\tconfigure\twrite\tread\nguest\t.*\t.*\t.*\n'
    )
    assert ctl("list_user_permissions guest").output == (
        'Listing permissions for user "guest" ...\nvhost\tconfigure\twrite\tread\n/\t.*\t.*\t.*\n'
    )
    assert ctl("list_permissions -p none").exit_code == 65
    assert ctl("list_user_permissions none").exit_code == 67


def test_a_stream_counts_what_it_keeps(broker: Controlled, ctl: Ctl) -> None:
    broker.put("queues/%2F/s", durable=True, arguments={"x-queue-type": "stream"})
    client = broker.connect()
    broker.do(lambda: client.method(1, commands.Basic.Qos, prefetch_count=10))
    broker.do(lambda: client.consume("s"))
    for _ in range(3):
        broker.do(lambda: client.publish("", "s"))
    columns = "name type messages messages_ready messages_unacknowledged consumers"
    assert ctl(f"list_queues -s {columns}").output == "s\tstream\t3\t3\t0\t1\n"
    broker.put("policies/%2F/age", pattern="s", **{"apply-to": "streams"}, definition={"max-age": "1D"})
    assert ctl("list_queues -s name policy").output == "s\tage\n"
