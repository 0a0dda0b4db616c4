"""list_delayed and cancel_delayed."""

from __future__ import annotations

from tests.support.control import Controlled, Ctl
from tests.support.world import WALL


def waiting(broker: Controlled) -> None:
    client = broker.connect()

    def publish() -> None:
        client.declare("q")
        for number in range(2):
            headers = {"x-deliver-at": WALL + 1500 + number}
            client.publish("", "q", b"body", headers=headers, message_id=f"m{number}", delivery_mode=2)

    broker.do(publish)


def test_they_are_listed_and_cancelled(broker: Controlled, ctl: Ctl) -> None:
    waiting(broker)
    lines = ctl("list_delayed", "amq.default").output.splitlines()
    assert lines[0] == "Listing delayed messages of exchange 'amq.default' in vhost '/' ..."
    assert lines[1] == "id\tdeliver_at\trouting_key\tpayload_bytes\tpersistent\tmessage_id"
    first, *others = lines[2].split("\t")
    assert others == ["2023-11-14T22:13:21.500+00:00", "q", "4", "true", "m0"]
    assert len(lines) == 4
    assert len(ctl("list_delayed", "-s", "", "--count", "1").output.splitlines()) == 1
    assert ctl("cancel_delayed", "amq.default", first).output == (
        f"Cancelling delayed message {first} of exchange 'amq.default' ...\n"
    )
    assert ctl("list_delayed", "-s", "").output.startswith(f"{WALL + 1501}-")
    again = ctl("cancel_delayed", "amq.default", first)
    assert again.exit_code == 65
    assert again.stderr == f"Error: exchange 'amq.default' in vhost '/' delays no message {first}\n"


def test_an_exchange_that_is_not_there(ctl: Ctl) -> None:
    result = ctl("list_delayed", "nowhere")
    assert (result.exit_code, result.stderr) == (65, "Error: there is no exchange 'nowhere' in vhost '/'\n")


def test_a_time_beyond_all_calendars_is_a_number(broker: Controlled, ctl: Ctl) -> None:
    client = broker.connect()
    broker.do(lambda: client.publish("", "q", headers={"x-deliver-at": (1 << 63) - 1}))
    assert f"\t{(1 << 63) - 1}\tq\t" in ctl("list_delayed", "amq.default").output


def test_how_many_is_a_column_of_list_exchanges(broker: Controlled, ctl: Ctl) -> None:
    waiting(broker)
    assert "\t2" in ctl("list_exchanges", "-s", "name", "messages_delayed").output.splitlines()
