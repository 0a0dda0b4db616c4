"""The commands about policies, parameters, limits, topic permissions and definitions, as rabbitmqctl words them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.control import Controlled, Ctl

EXPORTED = Path(__file__).parents[1] / "definitions" / "rabbitmq-3.10.json"


@pytest.mark.parametrize(
    ("kind", "what", "path", "listed"),
    [
        ("policy", "policy", "policies", "policies"),
        ("operator_policy", "operator policy override", "operator-policies", "operator policy overrides"),
    ],
)
def test_policies(broker: Controlled, ctl: Ctl, kind: str, what: str, path: str, listed: str) -> None:
    result = ctl(f"""set_{kind} ttl '^q' '{{"message-ttl": 5}}' --priority 3 --apply-to queues""")
    assert result.output == (
        f'Setting {what} "ttl" for pattern "^q" to "{{"message-ttl": 5}}" with priority "3" for vhost "/" ...\n'
    )
    assert broker.get(f"{path}/%2F/ttl")["definition"] == {"message-ttl": 5}
    many = f"list_{kind[:-1]}ies"
    assert ctl(many).output.splitlines() == [
        f'Listing {listed} for vhost "/" ...',
        "vhost\tname\tpattern\tapply-to\tdefinition\tpriority",
        '/\tttl\t^q\tqueues\t{"message-ttl":5}\t3',
    ]
    [row] = json.loads(ctl(f"{many} --formatter json").output)
    assert (row["definition"], row["priority"]) == ('{"message-ttl":5}', 3)
    name = kind.replace("_", " ")
    assert ctl(f"clear_{kind} ttl").output == f'Clearing {name} "ttl" on vhost "/" ...\n'
    result = ctl(f"clear_{kind} ttl")
    assert (result.exit_code, result.stderr) == (69, "Error: Parameter does not exist\n")


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (("set_policy", "x", "a", '{"foo":1}'), 69, 'Validation failed\n\n[{<<"foo">>,1}] are not recognised policy'),
        (("set_policy", "x", "a", "nonsense"), 69, "JSON decoding error"),
        (("set_policy", "x", "a", "{}", "--priority", "high"), 64, "Invalid value for '--priority'"),
        (("set_policy", "-p", "nowhere", "x", "a", '{"expires":1}'), 65, "Virtual host 'nowhere' does not exist"),
        (("clear_policy", "-p", "nowhere", "x"), 65, "Virtual host 'nowhere' does not exist"),
        (("set_parameter", "none", "x", "1"), 69, "component none not found"),
        (("clear_parameter", "shovel", "x"), 69, "Parameter does not exist"),
        (("clear_global_parameter", "x"), 69, "Parameter does not exist"),
        (("set_vhost_limits", '{"max-foo":1}'), 69, "Unrecognised terms"),
        (("clear_vhost_limits",), 69, "Parameter does not exist"),
        (("set_user_limits", "guest", '{"max-channels":"1"}'), 69, "max-channels should be a number"),
        (("set_user_limits", "nobody", "{}"), 67, 'User "nobody" does not exist'),
        (("import_definitions", "/nowhere/x.json"), 65, "No such file"),
    ],
)
def test_what_goes_wrong(ctl: Ctl, words: tuple[str, ...], code: int, text: str) -> None:
    result = ctl(*words)
    assert result.exit_code == code and text in result.stderr


def test_parameters(ctl: Ctl) -> None:
    assert ctl("set_parameter", "shovel", "s", '{"src-uri": "amqp://"}').exit_code == 0
    assert ctl("-q list_parameters").output == 'component\tname\tvalue\nshovel\ts\t{"src-uri":"amqp://"}\n'
    assert ctl("clear_parameter shovel s").output == (
        'Clearing runtime parameter "s" for component "shovel" on vhost "/" ...\n'
    )
    assert ctl("-q list_parameters").output == ""


def test_global_parameters(ctl: Ctl) -> None:
    assert ctl("set_global_parameter", "a", '{"b": 1}').output == (
        'Setting global runtime parameter "a" to "{"b": 1}" ...\n'
    )
    assert ctl("-q list_global_parameters").output == 'name\tvalue\na\t{"b":1}\n'
    assert ctl("clear_global_parameter a").exit_code == 0


def test_limits_of_virtual_hosts(ctl: Ctl) -> None:
    assert ctl("-q list_vhost_limits").output == "{}\n"
    assert ctl("set_vhost_limits", '{"max-queues": 5, "max-connections": 9}').exit_code == 0
    assert ctl("set_vhost_limits", '{"max-queues": 6}').exit_code == 0
    assert ctl("list_vhost_limits").output == 'Listing limits for vhost "/" ...\n{"max-queues":6}\n'
    assert ctl("list_vhost_limits --global -q").output == 'vhost\tlimits\n/\t{"max-queues":6}\n'
    assert ctl("clear_vhost_limits").output == 'Clearing vhost "/" limits ...\n'


def test_limits_of_users(ctl: Ctl) -> None:
    assert ctl("set_user_limits", "guest", '{"max-channels": 5}').exit_code == 0
    assert ctl("set_user_limits", "guest", '{"max-connections": 9}').exit_code == 0
    assert ctl("list_user_limits").output == (
        'Listing limits for user "guest" ...\n{"max-channels":5,"max-connections":9}\n'
    )
    assert ctl("clear_user_limits guest max-channels").output == 'Clearing "max-channels" limit for user "guest" ...\n'
    assert ctl("-q list_user_limits --global").output == 'user\tlimits\nguest\t{"max-connections":9}\n'
    assert ctl("clear_user_limits guest all").exit_code == 0
    assert ctl("-q list_user_limits --user guest").output == "{}\n"


def test_topic_permissions(ctl: Ctl) -> None:
    assert ctl("set_topic_permissions", "guest", "amq.topic", "^a", "^b").output == (
        'Setting topic permissions on "amq.topic" for user "guest" in vhost "/" ...\n'
    )
    assert ctl("-q list_topic_permissions").output == "user\texchange\twrite\tread\nguest\tamq.topic\t^a\t^b\n"
    assert ctl("-s list_user_topic_permissions guest").output == "/\tamq.topic\t^a\t^b\n"
    assert ctl("clear_topic_permissions guest other").exit_code == 0
    assert ctl("clear_topic_permissions guest").output == (
        'Clearing topic permissions for user "guest" in vhost "/" ...\n'
    )
    assert ctl("-s list_topic_permissions").output == ""


def test_metadata_of_virtual_hosts(broker: Controlled, ctl: Ctl) -> None:
    assert ctl("add_vhost v --description one --tags a,b").exit_code == 0
    assert ctl("add_vhost v").exit_code == 0
    assert ctl("update_vhost_metadata v --default-queue-type quorum").exit_code == 0
    item = broker.get("vhosts/v")
    assert (item["description"], item["tags"], item["default_queue_type"]) == ("one", ["a", "b"], "quorum")
    assert ctl("update_vhost_metadata none").exit_code == 65
    assert ctl("enable_vhost_deletion_protection v").exit_code == 0
    assert "protected from deletion" in ctl("delete_vhost v").stderr
    assert ctl("disable_vhost_deletion_protection v").exit_code == 0
    assert ctl("delete_vhost v").exit_code == 0


def test_definitions_in_and_out(broker: Controlled, ctl: Ctl, tmp_path: Path) -> None:
    assert ctl("import_definitions", str(EXPORTED)).exit_code == 0
    file = tmp_path / "out.json"
    assert ctl("export_definitions", str(file)).output == f'Exporting definitions in JSON to a file at "{file}" ...\n'
    document = json.loads(file.read_text())
    assert document == json.loads(ctl("export_definitions", "-").output)
    assert {queue["name"] for queue in document["queues"]} >= {"orders.quorum", "log"}
    result = ctl("import_definitions", input=json.dumps({"vhosts": [{"name": "more"}]}))
    assert result.output == "Importing definitions in JSON from standard input ...\n"
    assert broker.get("vhosts/more")["name"] == "more"
    result = ctl("import_definitions", input='{"queues": [{"name": "q", "vhost": "none"}]}')
    assert result.exit_code == 65 and 'Please create virtual host "none"' in result.stderr
